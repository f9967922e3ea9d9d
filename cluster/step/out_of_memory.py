"""What is told where a GPU's memory is too small for a micro-batch."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from multitask.config.training import TrainingConfig
from multitask.data import Batch
from multitask.errors import UserError


@contextmanager
def in_memory(task: str, batch: Batch, training: TrainingConfig) -> Iterator[None]:
    """Inside, `batch` passes forward and backward.

    Raises:
        UserError: there is not the memory for it.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        sequences, length = batch.input_ids.shape
        limit = training.max_tokens_per_micro_batch
        mend = "set" if limit is None else f"it is {limit}; lower"
        raise UserError(
            f"training.max_tokens_per_micro_batch: the GPU has not the memory for a micro-batch of task {task}, {sequences} sequences × "
            f"{length} tokens = {batch.slots}: {mend} it to {max(length, batch.slots // 2)}, or lower data.max_length, or use "
            "encoder.checkpointing=true"
        ) from None
