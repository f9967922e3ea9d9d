"""Dropout that belongs to a row, wherever it is computed."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from multitask.data import Batch
from multitask.errors import UserError
from multitask.model.dropout import table_dropout

# As signed integers: 2³² over the golden ratio, and the two factors of MurmurHash3's finalizer.
_SPREAD, _FIRST, _SECOND = -1640531527, -2048144789, -1028477387


class RowDropout(TorchFunctionMode):
    """Inside, torch's dropout and its attention's draw masks by a hash of `key`, row, text, call and place in the tensor.

    So a mask is the same on every device, in every batch, whatever it is padded to, and on every rank. The first dimension of what is
    dropped must be that of the batch's sequences, or rows, but for `table_dropout`, whose mask is shared by all.
    The hash is the finalizer of MurmurHash3 (32 bits, A. Appleby), once for each dimension.
    """

    def __init__(self, batch: Batch, key: int) -> None:
        super().__init__()
        start = torch.full((1,), _signed(key), dtype=torch.int32, device=batch.rows.device)
        rows = _mix(start + batch.rows.to(torch.int32) * _SPREAD)
        places = torch.arange(batch.sequences, dtype=torch.int32, device=rows.device)
        sequences = _mix(rows + (places[:, None] + 1) * _SPREAD).flatten()
        self._table, self._rows, self._sequences = start, rows, sequences
        # The calls so far times `_SPREAD`; not a Python number, of whose every value torch.compile would make code of its own.
        self._calls = torch.zeros_like(start)

    def __enter__(self) -> "RowDropout":
        _ENTERED.append(self)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)  # type: ignore[no-untyped-call]
        _ENTERED.pop()

    @contextmanager
    def again(self, position: Tensor) -> Iterator[None]:
        """Inside, masks are drawn as they were from `position` on; afterwards the drawing stands where it stood."""
        stood, self._calls = self._calls, position
        try:
            with self:
                yield
        finally:
            self._calls = stood

    def position(self) -> Tensor:
        """Where the drawing of masks stands."""
        return self._calls

    def rewind(self, position: Tensor) -> None:
        """Go on drawing from `position`: passes from there on have the masks that they had."""
        self._calls = position

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """What torch calls in place of each of its functions."""
        if func is functional.dropout:
            return self._dropout(*args, **(kwargs or {}))
        if func is table_dropout:
            table, p, training = args
            return self._dropout(table.unsqueeze(0), p, training, key=self._table).squeeze(0)
        if func is functional.scaled_dot_product_attention:
            return self._attention(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _dropout(
        self, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False, *, key: Tensor | None = None
    ) -> Tensor:
        if not training or not p:
            return input
        dropped = input * self._kept(input, p, key) * (1 / (1 - p))
        return input.copy_(dropped) if inplace else dropped

    def _kept(self, input: Tensor, p: float, key: Tensor | None) -> Tensor:
        """The mask of what is kept, with probability 1 − p each, in the shape of `input`; `key`: (len(input),), else the rows'."""
        key = self._keys(input) if key is None else key
        self._calls = self._calls + _SPREAD
        bits = key + self._calls
        for size in input.shape[1:]:
            places = torch.arange(size, dtype=torch.int32, device=input.device)
            bits = _mix(bits)[..., None] + places * _SPREAD
        return _mix(bits) >= math.ceil(p * 2**32) - 2**31

    def _keys(self, input: Tensor) -> Tensor:
        """One for each of the sequences, or rows, of `input`."""
        for keys in (self._sequences, self._rows):
            if len(keys) == len(input):
                return keys
        raise UserError(
            f"encoder.dropout_key: the encoder drops out of a tensor of shape {tuple(input.shape)}, in which the rows of the "
            "batch cannot be told; say encoder.dropout_key=rank"
        )

    def _attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        attend = functional.scaled_dot_product_attention
        if not dropout_p:
            return attend(query, key, value, attn_mask, 0.0, is_causal, scale=scale, enable_gqa=enable_gqa)
        if enable_gqa:
            repeats = query.shape[-3] // key.shape[-3]
            key, value = key.repeat_interleave(repeats, -3), value.repeat_interleave(repeats, -3)
        scores = query @ key.transpose(-2, -1) * (scale or 1 / math.sqrt(query.shape[-1]))
        if is_causal:
            attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        if attn_mask is not None:
            scores = scores.masked_fill(~attn_mask, -math.inf) if attn_mask.dtype == torch.bool else scores + attn_mask
        return self._dropout(scores.softmax(-1), dropout_p) @ value


# Those that a pass runs in, the innermost last.
_ENTERED: list[RowDropout] = []


def same_masks() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """For a layer's pass, and for the one that repeats it while gradients flow back: both drop the same.

    What `torch.utils.checkpoint` takes as `context_fn`. Outside of any `RowDropout` it keeps the generator's state by itself.
    """
    if not _ENTERED:
        return nullcontext(), nullcontext()
    return nullcontext(), _ENTERED[-1].again(_ENTERED[-1].position())


def _mix(bits: Tensor) -> Tensor:
    """Each of these int32 to another, of which every bit depends on all of its own."""
    bits = (bits ^ ((bits >> 16) & 0xFFFF)).mul_(_FIRST)
    bits = bits.bitwise_xor_((bits >> 13) & 0x7FFFF).mul_(_SECOND)
    return bits.bitwise_xor_((bits >> 16) & 0xFFFF)


def _signed(number: int) -> int:
    """The lowest 32 bits of `number` as a signed integer."""
    return (number + 2**31) % 2**32 - 2**31
