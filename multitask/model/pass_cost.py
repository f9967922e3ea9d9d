"""What a pass through an encoder costs, counted without computing it: on the device meta, where tensors have shapes alone."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from multitask.model.encoder import Encoder

# Three lengths make out constant, linear and quadratic parts.
_LENGTHS = (8, 16, 24)


@dataclass(frozen=True)
class PerSequence:
    """Something of one sequence of L tokens: `once` + `linear` · L + `quadratic` · L²."""

    once: float
    linear: float
    quadratic: float

    def of(self, tokens: float, squares: float, sequences: float) -> float:
        """Of so many sequences whose lengths add up to `tokens` and their squares to `squares`."""
        return self.once * sequences + self.linear * tokens + self.quadratic * squares


@dataclass(frozen=True)
class PassCost:
    """One forward and backward pass of an encoder.

    `flops`: of matrix products and attention, a multiplication and an addition each, forward and backward together; recomputing and
    everything elementwise is not counted (the model FLOPs of Chowdhery et al. 2022, PaLM, appendix B). `saved`: bytes in fp32 that
    the forward pass keeps for the backward pass, attention's L × L matrices among them, as its plain form keeps them; None
    where they could not be counted. `launches`: operations of both passes that compute, for any number of sequences.
    """

    flops: PerSequence
    saved: PerSequence | None
    launches: int


def pass_cost(encoder: Encoder) -> PassCost:
    """What a pass in training costs; of an encoder that cannot be run on shapes alone, 6 FLOPs a token and trained parameter."""
    model, was_training = encoder.model, encoder.training
    model.train()
    try:
        counts = np.array([_count(model, length) for length in _LENGTHS])
    # Whatever the class does with values that are not there.
    except (RuntimeError, NotImplementedError, ValueError):
        return PassCost(PerSequence(0.0, 6.0 * _parameters_beside_embeddings(model), 0.0), None, 0)
    finally:
        model.train(was_training)
    fitted = np.linalg.solve(np.vander(_LENGTHS, 3, increasing=True), counts[:, :2])
    flops, saved = (PerSequence(*(round(part, 3) for part in own)) for own in fitted.T.tolist())
    return PassCost(flops, saved, int(counts[-1, 2]))


def _parameters_beside_embeddings(model: PreTrainedModel) -> int:
    tables = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding)}
    return sum(p.numel() for p in model.parameters() if p.requires_grad and id(p) not in tables)


def _count(model: PreTrainedModel, length: int) -> tuple[float, float, int]:
    """FLOPs, saved bytes and launches of a pass over one sequence."""
    shapes = {name: _on_meta(p).requires_grad_(p.requires_grad) for name, p in model.named_parameters()}
    shapes |= {name: _on_meta(own) for name, own in model.named_buffers()}
    own = {_storage(shape) for shape in shapes.values()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if (place := _storage(tensor)) not in own:
            kept.setdefault(place, tensor)
        return tensor

    flops, launches = FlopCounterMode(display=False), Launches()
    ids = torch.zeros(1, length, dtype=torch.int64, device="meta")
    with ExitStack() as counting:
        counting.enter_context(flops)
        counting.enter_context(launches)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            states = functional_call(model, shapes, kwargs={"input_ids": ids}).last_hidden_state
        if states.requires_grad:
            states.backward(torch.empty_like(states))
    saved = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    return flops.get_total_flops(), saved, launches.number


def _on_meta(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, device="meta")


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


class Launches(TorchDispatchMode):
    """Counts operations that compute something: neither views nor mere allocations."""

    _FREE = ("aten::empty", "aten::detach", "aten::_unsafe_view", "aten::lift_fresh")

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.number = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        call: Callable[..., Any] = function
        if not function.is_view and not function.name().startswith(self._FREE):
            self.number += 1
        return call(*args, **(kwargs or {}))
