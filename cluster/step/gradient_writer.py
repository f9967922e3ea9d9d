"""Where the gradients of a rank's micro-batches go."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from cluster.step.exchange import GradientBuffer
from cluster.step.layout import TrainedParameters
from multitask.model import TokenGradient

EmbeddedTokens = list[tuple[Tensor, Tensor]]


class GradientWriter:
    """Writes task gradients into a buffer; `held`: the groups whose gradients the buffer has, in order."""

    def __init__(self, trained: TrainedParameters, buffer: GradientBuffer, held: Sequence[int]) -> None:
        self._trained, self._buffer, self._held = trained, buffer, held
        self._embedded: dict[int, EmbeddedTokens] = {}

    @contextmanager
    def recording(self) -> Iterator[EmbeddedTokens]:
        """Collects the embedded tokens of the forward passes inside, to be given to `backward`."""
        if self._trained.tap is None:
            yield []
        else:
            with self._trained.tap.record() as tokens:
                yield tokens

    def backward(self, task: str, group: int, output: Tensor, gradient: Tensor | None, tokens: EmbeddedTokens) -> None:
        """Add the gradients of `output` (of its product with `gradient`, where that is given) to that of `group`."""
        if not output.requires_grad:
            return
        shared, head = self._trained.shared, self._trained.heads[task]
        inputs = [leaf for _, leaf in tokens] + list(shared.values()) + list(head.values())
        found = torch.autograd.grad(output, inputs, gradient, allow_unused=True)
        self._buffer.add(self._held.index(group), dict(zip(shared, found[len(tokens) :], strict=False)))
        self._buffer.add_heads(dict(zip(head, found[len(tokens) + len(shared) :], strict=True)))
        kept = [(ids, g) for (ids, _), g in zip(tokens, found, strict=False) if g is not None]
        self._embedded.setdefault(group, []).extend(kept)

    def token_gradients(self) -> dict[int, TokenGradient]:
        """Group to its gradient of the token embedding; without the groups that have none."""
        tap = self._trained.tap
        if tap is None:
            return {}
        return {group: tap.gradient(*map(list, zip(*e, strict=True))) for group, e in self._embedded.items() if e}
