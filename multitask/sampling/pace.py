"""How many training rows the steps of a phase take."""

from collections.abc import Mapping

import numpy as np

from multitask.config.consistency import tasks_in_one_step
from multitask.config.sampling import DrawnConfig, Proportional, SamplingConfig, Sequential
from multitask.sampling.drawn import expected_draws, task_probabilities
from multitask.sampling.sizes import TaskSize


def rows_per_step(sampling: SamplingConfig, sizes: Mapping[str, TaskSize], epochs: int) -> tuple[float, ...]:
    """Rows that a step takes on the average in each of the phase's `epochs`, were all batches full."""
    batch_sizes = np.array([size.batch_size for size in sizes.values()], dtype=np.float64)
    if isinstance(sampling, Proportional | Sequential):
        batches = [size.batches for size in sizes.values()]
        mean = float(np.average(batch_sizes, weights=batches))
        return (mean * (sampling.merged_batches if isinstance(sampling, Proportional) else 1),) * epochs
    mean, number = float(batch_sizes.mean()), tasks_in_one_step(sampling, len(sizes))
    if not isinstance(sampling, DrawnConfig):
        return (mean * number,) * epochs
    rows = {task: size.rows for task, size in sizes.items()}
    draws = [expected_draws(task_probabilities(sampling, rows, e, epochs), number) for e in range(epochs)]
    # By the distance from the mean: equal batch sizes give the same figure to the bit, whatever the probabilities.
    return tuple(mean * number + float(own @ (batch_sizes - mean)) for own in draws)
