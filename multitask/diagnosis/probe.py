"""A short training that looks at its task gradients, each taken on two halves of its batch."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from multitask.config import RunConfig
from multitask.config.loading import change_config
from multitask.data import Tables
from multitask.errors import UserError
from multitask.trainer.step import parts_of
from multitask.trainer.trainer import Trainer
from multitask.work import MicroBatch


@dataclass(frozen=True)
class Look:
    """The task gradients of one round of K tasks.

    `inner` (B, 2, 2, K, K) fp64: in block b the inner product of task i's gradient on half x of its batch with task j's on half y,
    at [b, x, y, i, j]. `losses` (K,) and `rows` (K,): of the whole batches.
    """

    step: int
    tasks: tuple[str, ...]
    inner: Tensor
    losses: Tensor
    rows: tuple[int, ...]

    @property
    def whole(self) -> Tensor:
        """The Gramian (B, K, K) of the gradients on the whole batches, the means of those on their halves."""
        return self.inner.mean((1, 2))


@dataclass(frozen=True)
class Start:
    """Trained weights by name, fp32, as of a run after `step` steps; `place` is where they come from."""

    weights: Mapping[str, Tensor]
    step: int
    place: str


class Probe:
    """`steps` steps of a recipe, trained by the sum of its losses in this process, with a look at every `every`-th after the first `after`."""

    def __init__(
        self,
        config: RunConfig,
        tables: Tables,
        steps: int,
        every: int,
        device: torch.device,
        after: int = 0,
        start: Start | None = None,
    ) -> None:
        """Raises:
        UserError: none of these steps trains several tasks, each with two rows or more; `start` is of another model.
        """
        # Two micro-batches are two halves of a batch.
        changes = {"combination": {"name": "sum"}, "training.accumulation": 2, "training.save_every": None}
        if config.precision == "fp16":
            # No look at gradients that overflowed.
            changes["precision"] = "fp32"
        self._trainer = Trainer(change_config(config, changes, "diagnose"), tables, device)
        total = self._trainer.schedule.steps
        if after >= total:
            raise UserError(f"diagnose: the recipe has {total} steps, so that none is left after {after}")
        # A run that has ended is looked at on its last batches.
        first = 0 if start is None else max(0, min(start.step, total - steps - after))
        self.begin, self.end = first, min(first + after + steps, total)
        self.steps = self.end - self.begin
        self.looks = [step for step in range(first + after, self.end, every) if self._is_worth_a_look(step)]
        if not self.looks:
            raise UserError(
                f"diagnose: none of the {self.end - first - after} steps trains several tasks with two rows and more each; "
                "phases.0.sampling.name=round_robin does"
            )
        step = self._trainer.step
        self.layers = step.layers
        self._shared = step.trained_shared()
        self._take_over(start)

    def _take_over(self, start: Start | None) -> None:
        self._trainer.progress.step = self.begin
        if start is None:
            return
        weights = self._trainer.step.weights
        sizes = {name: value.numel() for name, value in weights.values.items()}
        found = {name: value.numel() for name, value in start.weights.items()}
        if sizes != found:
            odd = sorted(name for name in {*sizes, *found} if sizes.get(name) != found.get(name))[0]
            raise UserError(f"diagnose: {start.place} and the recipe do not belong together, they differ in {odd}")
        weights.load({name: start.weights[name].view_as(value) for name, value in weights.values.items()})

    def _is_worth_a_look(self, step: int) -> bool:
        round = self._trainer.schedule.round(step)
        sizes = self._trainer.source.sizes()[round.phase]
        return len(round.tasks) > 1 and all(sizes[task].batch_size > 1 for task in round.tasks)

    def run(self, on_step: Callable[[int], None]) -> Iterator[Look]:
        """Train and look; `on_step` is told the number of steps done."""
        for step in range(self.begin, self.end):
            if step in self.looks:
                yield self._look(step)
            self._trainer.train_step()
            on_step(step + 1 - self.begin)

    def _look(self, step: int) -> Look:
        trainer = self._trainer
        work = trainer.source.share(trainer.schedule.round(step))
        trainer.model.train()
        halves: list[list[Tensor]] = [[], []]
        losses, rows = [], []
        for task in work.round.tasks:
            micros = work.batches[task]
            found = [self._gradient(task, micro, step) for micro in micros]
            for half, (gradient, _) in zip(halves, found, strict=True):
                half.append(gradient)
            counts = [len(micro.batch.labels) for micro in micros]
            losses.append(sum(loss * count for (_, loss), count in zip(found, counts, strict=True)) / sum(counts))
            rows.append(sum(counts))
        return Look(step, work.round.tasks, self._inner(halves), torch.tensor(losses).double(), tuple(rows))

    def _gradient(self, task: str, micro: MicroBatch, step: int) -> tuple[Tensor, float]:
        """Gradient (P,) of the mean loss of these rows, and that loss."""
        alone = MicroBatch(micro.batch, 1 / len(micro.batch.labels))
        found = self._trainer.step.task_gradient(task, [alone], 1.0, self._shared, step)
        return found.shared, found.loss

    def _inner(self, halves: list[list[Tensor]]) -> Tensor:
        tasks, parts = len(halves[0]), parts_of(self._shared)
        gramian = self.layers.blocks.gramian([*halves[0], *halves[1]], parts).double().cpu()
        return gramian.unflatten(2, (2, tasks)).unflatten(1, (2, tasks)).transpose(2, 3)
