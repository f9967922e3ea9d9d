"""Where the gradients of a rank's micro-batches go."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cluster.step.exchange import GradientBuffer
from multitask.model import EmbeddingTap, TokenGradient

Words = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Trained:
    """What a step trains, name to parameter: what tasks share, and each task's own.

    `tap`: where the word embedding is trained; its weight is then not among `shared`.
    """

    shared: Mapping[str, nn.Parameter]
    heads: Mapping[str, Mapping[str, nn.Parameter]]
    tap: EmbeddingTap | None


class Collector:
    """Takes gradients into the rows of a buffer; `held`: which rows of the round the buffer has, in order."""

    def __init__(self, trained: Trained, buffer: GradientBuffer, held: Sequence[int]) -> None:
        self._trained, self._buffer, self._held = trained, buffer, held
        self._words: dict[int, Words] = {}

    @contextmanager
    def recording(self) -> Iterator[Words]:
        """Collects the embedded words of the forward passes inside, to be given to `backward`."""
        if self._trained.tap is None:
            yield []
        else:
            with self._trained.tap.record() as words:
                yield words

    def backward(self, task: str, row: int, output: Tensor, gradient: Tensor | None, words: Words) -> None:
        """Add the gradients of `output` (of its product with `gradient`, where that is given) to row `row`."""
        if not output.requires_grad:
            return
        shared, head = self._trained.shared, self._trained.heads[task]
        inputs = [leaf for _, leaf in words] + list(shared.values()) + list(head.values())
        found = torch.autograd.grad(output, inputs, gradient, allow_unused=True)
        self._buffer.add(self._held.index(row), dict(zip(shared, found[len(words) :], strict=False)))
        self._buffer.add_heads(dict(zip(head, found[len(words) + len(shared) :], strict=True)))
        kept = [(ids, g) for (ids, _), g in zip(words, found, strict=False) if g is not None]
        self._words.setdefault(row, []).extend(kept)

    def word_gradients(self) -> dict[int, TokenGradient]:
        """Row to its gradient of the word embedding; without the rows that have none."""
        tap = self._trained.tap
        if tap is None:
            return {}
        return {row: tap.gradient(*map(list, zip(*w, strict=True))) for row, w in self._words.items() if w}
