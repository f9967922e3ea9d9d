"""What is reported of training between two records."""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations

from torch import Tensor

from multitask.combination import cosines
from multitask.trainer.progress import Progress
from multitask.trainer.result import StepResult


class TrainRecord:
    """Collects steps and turns them into one flat dict of means, under the project's metric names."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._values: dict[str, list[float]] = defaultdict(list)
        self._norms: list[float | Tensor] = []
        self._steps = self._fallbacks = self._pairs = self._conflicts = self._tokens = self._slots = (
            self._extra_tokens
        ) = 0
        self._start = time.perf_counter()

    @property
    def is_empty(self) -> bool:
        """Whether no step came since the last record."""
        return self._slots == 0

    def restart_clock(self) -> None:
        """Leave the time since the last record out of the throughput: it went into something else."""
        self._start = time.perf_counter()

    def add(self, result: StepResult, lr: float) -> None:
        """Take in one step; of one whose gradients overflowed, these are left out."""
        for task, loss in result.losses.items():
            self._values[f"train/loss/{task}"].append(loss)
        for term, value in result.terms.items():
            self._values[f"train/regularization/{term}"].append(value)
        self._values["train/lr"] = [lr]
        if result.loss_scale is not None:
            self._values["train/loss_scale"] = [result.loss_scale]
        self._tokens += result.tokens
        self._slots += result.slots
        self._extra_tokens += result.extra_tokens
        if not result.overflowed:
            self._add_gradients(result)

    def _add_gradients(self, result: StepResult) -> None:
        for task, weight in result.weights.items():
            self._values[f"combination/weight/{task}"].append(weight)
        self._norms.append(result.norm)
        self._fallbacks += result.fell_back
        self._steps += 1
        if result.gramian is not None:
            self._add_cosines(result)

    def _add_cosines(self, result: StepResult) -> None:
        assert result.gramian is not None
        names = ["+".join(group) for group in result.groups]
        for name, square in zip(names, result.gramian.diagonal().clamp(min=0).tolist(), strict=True):
            self._values[f"combination/norm/{name}"].append(square**0.5)
        for pair, cosine in _pairs(names, result.gramian):
            self._values[f"combination/cosine/{pair}"].append(cosine)
            self._pairs += 1
            self._conflicts += cosine < 0
        for layer, gramian in result.layers.items():
            for pair, cosine in _pairs(names, gramian):
                self._values[f"combination/layer_cosine/{pair}/{layer}"].append(cosine)

    def take(self, progress: Progress) -> dict[str, float]:
        """The record so far; the next one starts empty."""
        record = {name: sum(values) / len(values) for name, values in self._values.items()}
        if self._norms:
            record["train/grad_norm"] = sum(map(float, self._norms)) / len(self._norms)
        if self._pairs:
            record["combination/conflict_rate"] = self._conflicts / self._pairs
        if self._fallbacks:
            record["combination/fallback_rate"] = self._fallbacks / self._steps
        seconds = time.perf_counter() - self._start
        record["throughput/tokens_per_s"] = self._tokens / seconds
        record["throughput/padding"] = 1 - self._tokens / self._slots
        if self._extra_tokens:
            record["throughput/regularization_tokens"] = self._extra_tokens / (self._tokens + self._extra_tokens)
        record["train/rows"], record["train/tokens"] = progress.rows, progress.tokens
        record["train/skipped_steps"] = progress.skipped_steps
        if "train/loss_scale" in record:
            record["train/overflowed_steps"] = progress.overflowed_steps
        for task, steps in progress.trained_steps.items():
            record[f"train/share/{task}"] = steps / progress.step
        self._clear()
        return record


def _pairs(names: Sequence[str], gramian: Tensor) -> Iterator[tuple[str, float]]:
    """Each pair `a-b` of a Gramian's groups, and the cosine of their gradients."""
    matrix = cosines(gramian).tolist()
    for (i, first), (j, second) in combinations(enumerate(names), 2):
        yield f"{first}-{second}", matrix[i][j]
