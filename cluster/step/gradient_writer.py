"""Where the gradients of a rank's micro-batches go."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from cluster.step.exchange import GradientBuffer
from cluster.step.layout import TrainedParameters
from multitask.model import TokenGradient

EmbeddedTokens = list[tuple[Tensor, Tensor]]
# Task and shared parameter to a factor of what the task adds to its gradient.
SharedFactors = Mapping[str, Mapping[str, float]]


class GradientWriter:
    """Writes task gradients into a buffer; `held`: the groups whose gradients the buffer has, in order.

    `factors`: of the gradients of shared parameters; all 1 if None.
    """

    def __init__(
        self, trained: TrainedParameters, buffer: GradientBuffer, held: Sequence[int], factors: SharedFactors | None
    ) -> None:
        self._trained, self._buffer, self._held, self._factors = trained, buffer, held, factors
        self._embedded: dict[int, EmbeddedTokens] = {}

    @contextmanager
    def recording(self, ids: Tensor) -> Iterator[EmbeddedTokens]:
        """Collects the embedded tokens of the forward passes inside, to be given to `backward`; `ids`: theirs, on the host."""
        if self._trained.tap is None:
            yield []
        else:
            with self._trained.tap.record(ids) as tokens:
                yield tokens

    def backward(self, task: str, group: int, output: Tensor, gradient: Tensor | None, tokens: EmbeddedTokens) -> None:
        """Add the gradients of `output` (of its product with `gradient`, where that is given) to that of `group`."""
        if not output.requires_grad:
            return
        shared, head = self._trained.shared, self._trained.heads[task]
        inputs = [leaf for _, leaf in tokens] + list(shared.values()) + list(head.values())
        found = torch.autograd.grad(output, inputs, gradient, allow_unused=True)
        of_shared = dict(zip(shared, found[len(tokens) :], strict=False))
        of_tokens = found[: len(tokens)]
        if self._factors is not None:
            own, tap = self._factors[task], self._trained.tap_name
            of_shared = {name: g if g is None else g * own[name] for name, g in of_shared.items()}
            of_tokens = tuple(g if g is None or tap is None else g * own[tap] for g in of_tokens)
        self._buffer.add(self._held.index(group), of_shared)
        self._buffer.add_heads(dict(zip(head, found[len(tokens) + len(shared) :], strict=True)))
        kept = [(ids, g) for (ids, _), g in zip(tokens, of_tokens, strict=True) if g is not None]
        self._embedded.setdefault(group, []).extend(kept)

    def token_gradients(self) -> dict[int, TokenGradient]:
        """Group to its gradient of the token embedding; without the groups that have none."""
        tap = self._trained.tap
        if tap is None:
            return {}
        return {group: tap.gradient(*map(list, zip(*e, strict=True))) for group, e in self._embedded.items() if e}
