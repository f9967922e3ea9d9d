"""The rounds of a whole run: phases, epochs and steps."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from multitask.config import RunConfig
from multitask.config.sampling import PhaseConfig, Sequential
from multitask.errors import UserError
from multitask.sampling.drawn import DrawnStrategy
from multitask.sampling.pace import rows_per_step
from multitask.sampling.proportional import ProportionalStrategy
from multitask.sampling.round_robin import RoundRobinStrategy
from multitask.sampling.sequential import SequentialStrategy
from multitask.sampling.sizes import TaskSize
from multitask.sampling.strategy import Plan, Strategy

STRATEGIES = {
    "sequential": SequentialStrategy,
    "round_robin": RoundRobinStrategy,
    "scaled_batch_sizes": RoundRobinStrategy,
    "proportional": ProportionalStrategy,
    "uniform": DrawnStrategy,
    "square_root": DrawnStrategy,
    "temperature": DrawnStrategy,
    "annealed": DrawnStrategy,
    "draw_weights": DrawnStrategy,
}
# Steps times rows a step is not always exact where batch sizes differ.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class TaskBatch:
    """What a round takes of one task: running numbers of its batches in the phase, trained as one batch."""

    task: str
    numbers: tuple[int, ...]


@dataclass(frozen=True)
class Round:
    """The task batches of one step. `epoch` counts from the start of the run, with its fraction."""

    step: int
    phase: int
    epoch: float
    batches: tuple[TaskBatch, ...]

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks of the round, each once, in the config's order."""
        return tuple(batch.task for batch in self.batches)


class Schedule:
    """Every round of a run as a pure function of the step.

    `sizes`: per phase, task to size (`multitask.sampling.sizes.task_sizes`).
    """

    def __init__(self, config: RunConfig, sizes: Sequence[Mapping[str, TaskSize]]) -> None:
        self._order = tuple(config.tasks)
        self._phases = [
            _Phase(config, index, phase, own)
            for index, (phase, own) in enumerate(zip(config.phases, sizes, strict=True))
        ]
        self._every, self._unit = config.training.evaluate_every, config.training.evaluate_rows
        self._starts, self._epochs_before = [0], [0]
        for phase in self._phases:
            self._starts.append(self._starts[-1] + phase.steps)
            self._epochs_before.append(self._epochs_before[-1] + phase.epochs)
        self._ends = frozenset(
            start + (epoch + 1) * phase.steps_per_epoch
            for start, phase in zip(self._starts, self._phases, strict=False)
            for epoch in range(phase.epochs)
        )

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self._starts[-1]

    def phase_of(self, step: int) -> int:
        """The phase that step number `step` (from 0) belongs to."""
        return bisect_right(self._starts, step) - 1

    def phase_steps(self, phase: int) -> range:
        """The steps of phase number `phase`."""
        return range(self._starts[phase], self._starts[phase + 1])

    def epoch_in_phase(self, step: int) -> int:
        """Whole epochs of its phase that are over before step number `step`."""
        phase = self.phase_of(step)
        return (step - self._starts[phase]) // self._phases[phase].steps_per_epoch

    def is_epoch_end(self, steps_done: int) -> bool:
        """Whether an epoch ends after `steps_done` steps."""
        return steps_done in self._ends

    def rows_done(self, steps_done: int) -> float:
        """Training rows after `steps_done` steps, by each strategy's average in each epoch."""
        return sum(
            phase.rows_done(min(steps_done - start, phase.steps))
            for start, phase in zip(self._starts, self._phases, strict=False)
            if steps_done > start
        )

    def evaluates_after(self, steps_done: int) -> bool:
        """Whether the model is evaluated after `steps_done` steps; after the last one always.

        By rows it is at the first step at or above each multiple of `training.evaluate_rows`, but for a last multiple that is
        nearer than half of them to the end.
        """
        if steps_done == self.steps:
            return True
        if self._unit is None:
            return self.is_epoch_end(steps_done) if self._every is None else steps_done % self._every == 0
        reached = int(self.rows_done(steps_done) / self._unit + _ROUNDING)
        crossed = reached > int(self.rows_done(steps_done - 1) / self._unit + _ROUNDING)
        return crossed and self.rows_done(self.steps) - reached * self._unit >= self._unit / 2

    def epochs_done(self, steps_done: int) -> float:
        """Epochs after `steps_done` steps, with the fraction."""
        index = min(self.phase_of(steps_done), len(self._phases) - 1)
        return self._epochs_before[index] + (steps_done - self._starts[index]) / self._phases[index].steps_per_epoch

    def round(self, step: int) -> Round:
        """The round of step number `step`, 0 ≤ step < steps."""
        index = self.phase_of(step)
        strategy = self._phases[index].strategy
        first = (step - self._starts[index]) * strategy.slots_per_step
        taken: dict[str, list[int]] = {}
        for q in range(first, first + strategy.slots_per_step):
            task, number = strategy.slot(q)
            taken.setdefault(task, []).append(number)
        batches = tuple(TaskBatch(task, tuple(taken[task])) for task in self._order if task in taken)
        return Round(step, index, self.epochs_done(step), batches)


class _Phase:
    def __init__(self, config: RunConfig, index: int, phase: PhaseConfig, sizes: Mapping[str, TaskSize]) -> None:
        self._rows = rows_per_step(phase.sampling, sizes, phase.epochs)
        wanted = phase.steps_per_epoch
        if phase.rows_per_epoch is not None:
            wanted = max(1, round(phase.rows_per_epoch * phase.epochs / sum(self._rows)))
        plan = Plan(sizes, (config.seed, index), phase.epochs, wanted)
        self.strategy: Strategy = STRATEGIES[phase.sampling.name](phase.sampling, plan)
        self.epochs = phase.epochs
        self.steps_per_epoch = wanted or -(-self.strategy.slots_per_epoch // self.strategy.slots_per_step)
        self.steps = self.epochs * self.steps_per_epoch
        if isinstance(phase.sampling, Sequential):
            _check_reached(f"phases.{index}", self.steps, plan.batches)
        self._rows_before = (0.0, *accumulate(rows * self.steps_per_epoch for rows in self._rows))

    def rows_done(self, steps: int) -> float:
        """Rows of the phase's first `steps` steps, at most all of them."""
        epoch, rest = divmod(steps, self.steps_per_epoch)
        return self._rows_before[epoch] + (rest * self._rows[epoch] if rest else 0.0)


def _check_reached(key: str, steps: int, batches: Mapping[str, int]) -> None:
    """One task after the other, so many `steps` come to the last one's `batches`."""
    begins = 0
    for task, number in batches.items():
        if steps <= begins:
            raise UserError(
                f"{key}: sequential never reaches task {task}: its batches begin after {begins:,} steps, and the phase has "
                f"{steps:,}; give more steps_per_epoch, epochs or rows_per_epoch, or use sampling.name=round_robin"
            )
        begins += number
