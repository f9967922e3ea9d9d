"""How large a pass over each task is."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from multitask.batch_numbers import number_of_batches
from multitask.config import RunConfig
from multitask.config.sampling import ScaledBatchSizes


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
        drawn[task] = min(rows[task], own.rows_per_pass or rows[task])
    sampling = config.phases[phase].sampling
    if isinstance(sampling, ScaledBatchSizes):
        scaled = _scaled_batch_sizes(sampling, drawn)
        sizes = {task: max(size, config.tasks[task].least_rows) for task, size in scaled.items()}
    else:
        sizes = {task: config.batch_size(task) for task in drawn}
    return {
        task: TaskSize(rows[task], size, number_of_batches(drawn[task], size, least_rows=config.tasks[task].least_rows))
        for task, size in sizes.items()
    }


def _scaled_batch_sizes(sampling: ScaledBatchSizes, drawn: Mapping[str, int]) -> dict[str, int]:
    """Batch sizes in proportion to the rows `drawn` in a pass, rounded to where the numbers of batches come nearest."""
    if sampling.batches is not None:
        share, wanted = Fraction(1, sampling.batches), sampling.batches
    else:
        share = Fraction(sampling.largest or 1, max(drawn.values()))
        wanted = math.ceil(1 / share)
    return {task: _nearest_batch_size(rows, share, wanted) for task, rows in drawn.items()}


def _nearest_batch_size(rows: int, share: Fraction, batches: int) -> int:
    """The whole size beside `rows` · `share`, at least 1, that makes the number of batches nearest to `batches`."""
    below, above = max(1, math.floor(rows * share)), math.ceil(rows * share)
    return min(below, above, key=lambda size: abs(math.ceil(rows / size) - batches))
