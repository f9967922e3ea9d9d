"""How large a pass over each task is."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from multitask.config import RunConfig
from multitask.config.sampling import ProportionalBatches


@dataclass(frozen=True)
class TaskSize:
    """`rows`: training rows that are used. `batch_size`: rows of one global batch. `batches`: of one pass."""

    rows: int
    batch_size: int
    batches: int


def task_sizes(config: RunConfig, phase: int, table_rows: Mapping[str, int]) -> dict[str, TaskSize]:
    """Task of phase number `phase` to its size; `table_rows`: task to rows of its training table."""
    rows, drawn = {}, {}
    for task in config.phase_tasks(phase):
        own = config.tasks[task]
        rows[task] = min(table_rows[task], own.train_rows or table_rows[task])
        drawn[task] = min(rows[task], own.rows_per_epoch or rows[task])
    sampling = config.phases[phase].sampling
    if isinstance(sampling, ProportionalBatches):
        wanted = sampling.batches or math.ceil(max(drawn.values()) / (sampling.largest or 1))
        sizes = {task: _even_batch_size(number, wanted) for task, number in drawn.items()}
    else:
        sizes = {task: config.batch_size(task) for task in drawn}
    return {task: TaskSize(rows[task], size, math.ceil(drawn[task] / size)) for task, size in sizes.items()}


def _even_batch_size(rows: int, batches: int) -> int:
    """The batch size that comes nearest to `batches` batches."""
    candidates = {max(1, rows // batches), math.ceil(rows / batches)}
    return min(sorted(candidates), key=lambda size: abs(math.ceil(rows / size) - batches))
