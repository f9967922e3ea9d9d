"""The rounds of a whole run: phases, epochs and steps."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from multitask.config import RunConfig
from multitask.config.sampling import PhaseConfig
from multitask.sampling.drawn import DrawnStrategy
from multitask.sampling.proportional import ProportionalStrategy
from multitask.sampling.round_robin import RoundRobinStrategy
from multitask.sampling.sequential import SequentialStrategy
from multitask.sampling.sizes import TaskSize
from multitask.sampling.strategy import Plan, Strategy

STRATEGIES = {
    "sequential": SequentialStrategy,
    "round_robin": RoundRobinStrategy,
    "proportional_batches": RoundRobinStrategy,
    "proportional": ProportionalStrategy,
    "uniform": DrawnStrategy,
    "square_root": DrawnStrategy,
    "temperature": DrawnStrategy,
    "annealed": DrawnStrategy,
    "weights": DrawnStrategy,
}


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
            _Phase(phase, _strategy(config, index, phase, own))
            for index, (phase, own) in enumerate(zip(config.phases, sizes, strict=True))
        ]
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
    def __init__(self, config: PhaseConfig, strategy: Strategy) -> None:
        self.strategy = strategy
        self.epochs = config.epochs
        self.steps_per_epoch = config.steps_per_epoch or -(-strategy.slots_per_epoch // strategy.slots_per_step)
        self.steps = self.epochs * self.steps_per_epoch


def _strategy(config: RunConfig, index: int, phase: PhaseConfig, sizes: Mapping[str, TaskSize]) -> Strategy:
    plan = Plan(sizes, (config.seed, index), phase.epochs, phase.steps_per_epoch)
    return STRATEGIES[phase.sampling.name](phase.sampling, plan)
