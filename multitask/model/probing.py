"""What an encoder does on a few tokens, before anything is trained: who cannot do what a config asks is told here, in one line."""

from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from multitask.autocast import autocast
from multitask.config import Precision, RunConfig
from multitask.data import Batch
from multitask.errors import UserError, first_line
from multitask.model.dropout import TableDropout
from multitask.model.encoder import Encoder
from multitask.model.loading import embedding_rows
from multitask.model.masking import takes_ready_mask
from multitask.model.row_dropout import RowDropout

# Tokens of a few sequences, none of which is as many as there are sequences.
_SIZES = (7, 4, 5)
# Where configs say how many tokens there may be.
_DECLARED = ("max_position_embeddings", "n_positions", "max_seq_len")


def check_encoder(encoder: Encoder, config: RunConfig) -> None:
    """Look whether `encoder` takes the sequences of `config`, gives each row a vector of its own, and drops as it says.

    Dropout of tables that all rows read is replaced by one that knows so.

    Raises:
        UserError: it does not.
    """
    kind, modes = encoder.model.config.model_type, (encoder.training, encoder.model.training)
    try:
        _check_positions(encoder.eval(), config)
        _check_states(encoder)
        _check_padding(encoder)
        _check_reading(encoder)
        _check_precision(encoder, config.precision)
        some = some_batch(encoder)
        encoder.takes_ready_mask = takes_ready_mask(encoder.model, some.input_ids, some.attention_mask)
        if config.encoder.dropout and config.encoder.dropout_key == "row":
            _share_tables(encoder.train())
            _check_dropout(encoder)
        if config.regularization.smart and not isinstance(encoder.words, nn.Embedding):
            raise UserError(f"regularization.smart: a {kind}'s words are no plain embedding that noise can be added to")
    except UserError:
        raise
    # Whatever goes wrong inside a class of transformers is told, too.
    except Exception as error:
        hint = "; encoder.padding=max_length may help" if encoder.length is None else ""
        raise UserError(f"encoder.name: a {kind} cannot be used here: {first_line(error)}{hint}") from None
    finally:
        encoder.train(modes[0])
        encoder.model.train(modes[1])


def longest_sequence(encoder: Encoder) -> int | None:
    """Most tokens of a sequence; None where positions are not looked up one by one."""
    found = []
    for size in (4, 5):
        ids = _batch(encoder, [1]).input_ids.expand(1, size)
        with _Lookups() as lookups, torch.no_grad():
            encoder.model(input_ids=ids, attention_mask=torch.ones_like(ids))
        found.append(lookups.highest)
    # The highest position grows with the sequence, from whatever it starts.
    short, long = found
    bounds = [
        weight.shape[0] - (highest - 4)
        for place, (weight, highest) in long.items()
        if place in short and highest == short[place][1] + 1
    ]
    return min(bounds, default=None)


class _Lookups(TorchFunctionMode):
    """Notes the tables that are looked up inside, and the highest row of each: `highest`, by the table's identity.

    What is looked up for pairs of tokens, as relative positions are, is left out.
    """

    def __init__(self) -> None:
        super().__init__()
        self.highest: dict[int, tuple[Tensor, int]] = {}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """What torch calls in place of each of its functions."""
        if func is functional.embedding:
            ids, weight = args[:2]
            if ids.dim() == 1 or ids.shape[-2] == 1:
                self.highest[id(weight)] = (weight, int(ids.max()))
        return func(*args, **(kwargs or {}))


def _check_positions(encoder: Encoder, config: RunConfig) -> None:
    wanted, shape = config.data.max_length, encoder.model.config
    longest = longest_sequence(encoder) if encoder.length is None else None
    if longest is None:
        # What is declared binds some, and not those that turn queries and keys.
        declared = [n for name in _DECLARED if isinstance(n := getattr(shape, name, None), int) and 0 < n < wanted]
        if declared and not _takes(encoder, wanted):
            longest = min(declared)
    if longest is not None and wanted > longest:
        raise UserError(f"data.max_length: {config.encoder.name!r} takes at most {longest} tokens, got {wanted}")


def _takes(encoder: Encoder, tokens: int) -> bool:
    try:
        _embed(encoder, _batch(encoder, [tokens]))
    except Exception:
        return False
    return True


def _check_states(encoder: Encoder) -> None:
    """A state for each token, as wide as the config says."""
    batch, kind = _batch(encoder, _SIZES, encoder.length), encoder.model.config.model_type
    with torch.no_grad():
        output = encoder.model(input_ids=batch.input_ids, attention_mask=batch.attention_mask)
    states, wanted = getattr(output, "last_hidden_state", None), (*batch.input_ids.shape, encoder.width)
    if states is None:
        raise UserError(f"encoder.name: a {type(encoder.model).__name__} gives no states of tokens")
    if tuple(states.shape) != wanted:
        raise UserError(f"encoder.name: a {kind} gives states of shape {tuple(states.shape)} here, not {wanted}")
    if not states.isfinite().all():
        raise UserError("encoder.name: the states that its weights give are not finite")


def _check_padding(encoder: Encoder) -> None:
    """The vector of a row must not depend on the rows beside it, nor on the padding that it has for their sake."""
    together = _embed(encoder, _batch(encoder, _SIZES))
    for row, size in enumerate(_SIZES):
        alone = _embed(encoder, _batch(encoder, [size], first=row))[0]
        if not _close(alone, together[row]):
            kind = encoder.model.config.model_type
            if encoder.length is None:
                raise UserError(
                    f"encoder.padding: the vectors of a {kind} change with the padding beside them; say encoder.padding=max_length"
                )
            raise UserError(f"encoder.name: the vector of a row changes in a {kind} with the rows beside it")


def _check_reading(encoder: Encoder) -> None:
    """A sequence's vector must change with its later tokens: a decoder's first state does not."""
    batch = _batch(encoder, (4, 4), encoder.length)
    batch.input_ids[1, 0] = batch.input_ids[0, 0]
    one, other = _embed(encoder, batch)
    if _close(one, other, 1e-6):
        raise UserError(
            f"encoder.pooling: the first token of a {encoder.model.config.model_type} has seen no other one; use last or mean"
        )


def _check_precision(encoder: Encoder, precision: Precision) -> None:
    """Not all that a class does is there in bf16 or fp16, and fp16 ends at 65,504."""
    if precision == "fp32":
        return
    batch, kind = _batch(encoder, _SIZES), encoder.model.config.model_type
    tensors = dict(chain(encoder.named_parameters(), encoder.named_buffers()))
    if precision == "bf16":
        tensors = {name: t.bfloat16() if t.is_floating_point() else t for name, t in tensors.items()}
    try:
        with torch.no_grad(), autocast(torch.device("cpu"), precision):
            found = functional_call(encoder, tensors, (batch.input_ids, batch.attention_mask, batch.token_type_ids))
    except (RuntimeError, TypeError) as error:
        raise UserError(f"precision: a {kind} does not run in {precision}: {first_line(error)}") from None
    if not found.isfinite().all():
        raise UserError(f"precision: the states of this {kind} leave the range of {precision}")


def _share_tables(encoder: Encoder) -> None:
    """Dropout modules whose input does not grow with the rows drop from a table that all rows read."""
    sizes: dict[str, list[int]] = {}
    hooks = [
        module.register_forward_pre_hook(
            lambda module, arguments, name=name: sizes.setdefault(name, []).append(len(arguments[0]))
        )
        for name, module in encoder.model.named_modules()
        if type(module) is nn.Dropout
    ]
    with torch.random.fork_rng(devices=[]):
        for rows in (2, 3):
            _embed(encoder, _batch(encoder, _SIZES[:rows], length=max(_SIZES)))
    for hook in hooks:
        hook.remove()
    for name, seen in sizes.items():
        if len(set(seen)) == 1:
            dropout = encoder.model.get_submodule(name)
            assert isinstance(dropout, nn.Dropout)
            encoder.model.set_submodule(name, TableDropout(dropout.p))


def _check_dropout(encoder: Encoder) -> None:
    """Masks must be keyed by rows, whatever the encoder does to their place."""
    together = _batch(encoder, _SIZES)
    longer = max(_SIZES) + 2 if encoder.length is None else None
    alone = [_batch(encoder, [size], length=longer, first=row) for row, size in enumerate(_SIZES)]
    try:
        with RowDropout(together, 0):
            found = _embed(encoder, together)
        again = []
        for batch in alone:
            with RowDropout(batch, 0):
                again.append(_embed(encoder, batch))
        keyed = _close(found, torch.cat(again))
    except UserError:
        keyed = False
    if not keyed:
        raise UserError(
            f"encoder.dropout_key: the dropout of a {encoder.model.config.model_type} cannot be keyed by the row; say "
            "encoder.dropout_key=rank"
        )


@torch.no_grad()
def _embed(encoder: Encoder, batch: Batch) -> Tensor:
    return encoder(batch.input_ids, batch.attention_mask, batch.token_type_ids)


def some_batch(encoder: Encoder) -> Batch:
    """A few sequences of unlike length."""
    return _batch(encoder, _SIZES)


def _batch(encoder: Encoder, sizes: tuple[int, ...] | list[int], length: int | None = None, first: int = 0) -> Batch:
    """Sequences of so many tokens, the numbers of whose rows begin at `first`, padded to `length` or to the longest."""
    pad_id, words = encoder.pad_id, embedding_rows(encoder.model)
    # From the middle of the vocabulary: the last rows of many are no words, and all alike.
    known = [number for number in range(words // 2, min(words, words // 2 + 997)) if number != pad_id]
    ids = torch.full((len(sizes), length or max(sizes)), pad_id)
    for row, size in enumerate(sizes):
        places = torch.arange(size) * 13 + (first + row) * 5
        ids[row, :size] = torch.tensor(known)[places % len(known)]
    mask = (torch.arange(ids.shape[1]) < torch.tensor(sizes)[:, None]).long()
    rows = torch.arange(first, first + len(sizes))
    return Batch(ids, mask, torch.zeros_like(ids), torch.zeros(len(sizes)), rows, 1)


def _close(one: Tensor, other: Tensor, share: float = 1e-4) -> bool:
    return bool((one - other).abs().max() <= share * one.abs().max())
