"""A rank's share of a round: which rows it computes, as padded batches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from multitask.config import RunConfig
from multitask.data import Batch, TaskTable, collate
from multitask.sampling import Round, TaskSize, split_round, task_sizes
from multitask.sampling.micro_batches import micro_batches
from multitask.sampling.rows import TaskRows


@dataclass(frozen=True)
class MicroBatch:
    """One forward and backward pass. `scale`: factor of the sum of its row losses, 1 / rows of the global batch."""

    batch: Batch
    scale: float


@dataclass(frozen=True)
class RoundWork:
    """One rank's share of `round`. `rows`: of all ranks and tasks. `holders[rank]`: positions in `round.tasks` of its tasks."""

    round: Round
    rows: int
    batches: Mapping[str, Sequence[MicroBatch]]
    holders: tuple[tuple[int, ...], ...]

    def to(self, device: torch.device) -> "RoundWork":
        """The same with its batches on `device`."""
        batches = {
            task: [replace(micro, batch=micro.batch.to(device)) for micro in micros]
            for task, micros in self.batches.items()
        }
        return replace(self, batches=batches)


class WorkSource:
    """Cuts each round into the ranks' shares; a pure function of the round, the same on every rank.

    With `all_tasks` every rank works on all tasks: it makes the same number of passes over each, with a row of scale 0 where it has
    none of its own: ZeRO 3 gathers parameters in each pass, and all ranks must take part.
    """

    def __init__(
        self, config: RunConfig, tables: Mapping[str, TaskTable], pad_id: int, rank: int, world: int, *, all_tasks: bool
    ) -> None:
        self._tables, self._pad_id, self._rank, self._world = tables, pad_id, rank, world
        self._all_tasks, self._training = all_tasks, config.training
        rows = {task: table.rows for task, table in tables.items()}
        self._sizes = [task_sizes(config, phase, rows) for phase in range(len(config.phases))]
        self._rows = {
            (phase, task): TaskRows(config, task, phase, tables[task].lengths, size)
            for phase, sizes in enumerate(self._sizes)
            for task, size in sizes.items()
        }

    def sizes(self) -> list[dict[str, TaskSize]]:
        """Per phase, task to size."""
        return self._sizes

    def used_rows(self) -> dict[str, int]:
        """Task to the training rows that are used of it."""
        return {task: size.rows for sizes in self._sizes for task, size in sizes.items()}

    def rows(self, round: Round) -> list[np.ndarray]:
        """Numbers of all rows of each task batch of `round`."""
        return [self._rows[round.phase, batch.task].rows(batch.numbers) for batch in round.batches]

    def share(self, round: Round) -> RoundWork:
        """This rank's share of `round`."""
        rows = self.rows(round)
        costs = [self._tables[task].lengths[r] for task, r in zip(round.tasks, rows, strict=True)]
        shares = split_round(costs, self._world, packed=not self._all_tasks)
        holders = tuple(
            tuple(k for k, piece in enumerate(share) if self._all_tasks or piece.stop > piece.start) for share in shares
        )
        batches = {
            task: self._micro_batches(task, rows[k], [share[k] for share in shares])
            for k, task in enumerate(round.tasks)
            if k in holders[self._rank]
        }
        return RoundWork(round, sum(map(len, rows)), batches, holders)

    def _micro_batches(self, task: str, everyone: np.ndarray, shares: Sequence[slice]) -> list[MicroBatch]:
        pieces = self._cut(task, everyone[shares[self._rank]])
        made = [MicroBatch(self._collate(task, piece), 1 / len(everyone)) for piece in pieces]
        if self._all_tasks:
            most = max(len(self._cut(task, everyone[share])) for share in shares)
            idle = max(most, self._training.accumulation) - len(made)
            made += [MicroBatch(self._collate(task, everyone[:1]), 0.0)] * idle
        return made

    def _cut(self, task: str, rows: np.ndarray) -> list[np.ndarray]:
        table, training = self._tables[task], self._training
        tokens = np.asarray(table.lengths[rows]) * table.sequences
        return micro_batches(rows, tokens, training.accumulation, training.max_tokens_per_micro_batch)

    def _collate(self, task: str, rows: np.ndarray) -> Batch:
        return collate(self._tables[task], rows, self._pad_id)
