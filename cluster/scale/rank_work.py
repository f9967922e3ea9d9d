"""What each of N ranks does in one step of a recipe: which rows, which task groups, which words. A pure function, as the step's own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cluster.scale.model_shape import ModelShape, WordTable
from cluster.scale.shares import Counts
from multitask.combination import Combination
from multitask.config import RunConfig
from multitask.data import TaskTable
from multitask.sampling import Schedule, split_round
from multitask.sampling.micro_batches import micro_batches
from multitask.work import WorkSource


@dataclass(frozen=True)
class StepWork:
    """One step on N ranks; arrays are (N,).

    `tasks`, `groups`: how many the step trains and keeps apart. `held`: groups that a rank has gradients of, `heads`: tasks. `tokens`: real ones
    of its rows; `slots`: with padding; `squares`: of the padded lengths, summed over its sequences; `sequences`, `passes`: how
    many of them, in how many forward passes. `words`: by rank and group the ids that it has gradients of, ascending.
    """

    tasks: int
    groups: int
    rows: int
    held: tuple[tuple[int, ...], ...]
    heads: tuple[tuple[str, ...], ...]
    tokens: Counts
    slots: Counts
    squares: Counts
    sequences: Counts
    passes: Counts
    words: tuple[Mapping[int, np.ndarray], ...]


class StepRows:
    """The rows of steps of a recipe; `tables`: training tables by task."""

    def __init__(self, config: RunConfig, tables: Mapping[str, TaskTable], source: WorkSource) -> None:
        self._config, self.tables, self._source = config, tables, source
        self.schedule = Schedule(config, source.sizes())

    def rows(self, step: int, least: int | None = None) -> dict[str, np.ndarray]:
        """Task to row numbers of step number `step`; with `least`, as many further steps' rows are added as make a step of so many,
        each task's sorted by length as those of one batch are.
        """
        found: dict[str, list[np.ndarray]] = {}
        total = 0
        while not total or (least is not None and total < least):
            round = self.schedule.round(step % self.schedule.steps)
            for task, rows in zip(round.tasks, self._source.rows(round), strict=True):
                found.setdefault(task, []).append(rows)
                total += len(rows)
            step += 1
        if least is None:
            return {task: own[0] for task, own in found.items()}
        keep = least / total
        return {task: self._sorted(task, np.concatenate(own), keep) for task, own in found.items()}

    def _sorted(self, task: str, rows: np.ndarray, keep: float) -> np.ndarray:
        kept = rows[: max(1, round(len(rows) * keep))]
        return kept[np.argsort(self.tables[task].lengths[kept], kind="stable")]


def step_work(
    config: RunConfig,
    shape: ModelShape,
    combination: Combination,
    tables: Mapping[str, TaskTable],
    rows: Mapping[str, np.ndarray],
    world: int,
    step: int = 0,
) -> StepWork:
    """How `world` ranks share the `rows` of a step."""
    tasks = [task for task in config.tasks if task in rows]
    costs = [np.asarray(tables[task].lengths[rows[task]]) for task in tasks]
    everyone = config.zero.stage == 3
    shares = split_round(costs, world, packed=not everyone)
    groups = combination.plan(tasks, step).groups
    group_of = [next(g for g, group in enumerate(groups) if task in group) for task in tasks]
    made = [_Rank(tables, shape.words) for _ in shares]
    for k, task in enumerate(tasks):
        cut = [_cut(config, tables[task], rows[task][share[k]]) for share in shares]
        # Under ZeRO 3 a rank that has no rows passes one for the others' sake.
        passes = max(config.training.accumulation, *map(len, cut)) if everyone else 0
        for rank, pieces in zip(made, cut, strict=True):
            if everyone or pieces:
                rank.take(task, group_of[k], [*pieces, *[rows[task][:1]] * (passes - len(pieces))])
    tokens, slots, squares, sequences, passes = np.array([rank.counts for rank in made], np.int64).T
    return StepWork(
        tasks=len(tasks),
        groups=len(groups),
        rows=sum(map(len, costs)),
        held=tuple(tuple(sorted(rank.held)) for rank in made),
        heads=tuple(tuple(rank.tasks) for rank in made),
        tokens=tokens,
        slots=slots,
        squares=squares,
        sequences=sequences,
        passes=passes,
        words=tuple({group: rank.words_of(group) for group in sorted(rank.ids)} for rank in made),
    )


def _cut(config: RunConfig, table: TaskTable, rows: np.ndarray) -> list[np.ndarray]:
    tokens, training = np.asarray(table.lengths[rows]) * table.sequences, config.training
    return micro_batches(rows, tokens, training.accumulation, training.max_tokens_per_micro_batch)


class _Rank:
    """What one rank does, task by task; `counts`: tokens, slots, squares, sequences, passes."""

    def __init__(self, tables: Mapping[str, TaskTable], words: WordTable | None) -> None:
        self._tables, self._words = tables, words
        self.held: set[int] = set()
        self.tasks: list[str] = []
        self.counts = np.zeros(5, np.int64)
        self.ids: dict[int, list[np.ndarray]] = {}

    def take(self, task: str, group: int, pieces: Sequence[np.ndarray]) -> None:
        """The rows of each of its micro-batches of one task batch."""
        self.held.add(group)
        self.tasks.append(task)
        for rows in pieces:
            self._pass(task, group, rows)

    def _pass(self, task: str, group: int, rows: np.ndarray) -> None:
        table = self._tables[task]
        sequences = [ids for column in table.encoded(rows).input_ids for ids in column]
        longest = max(map(len, sequences))
        tokens, number = sum(map(len, sequences)), len(sequences)
        self.counts += (tokens, number * longest, number * longest**2, number, 1)
        if self._words is not None:
            self.ids.setdefault(group, []).append(np.unique(np.concatenate(sequences)))

    def words_of(self, group: int) -> np.ndarray:
        """The ids of `group` that have a gradient here."""
        assert self._words is not None
        found = np.unique(np.concatenate(self.ids[group]))
        return found[found != self._words.padding]
