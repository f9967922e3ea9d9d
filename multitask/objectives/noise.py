"""Noise that belongs to a row, wherever it is computed."""

import torch
from torch import Tensor

from multitask.data import Batch
from multitask.device import to_device
from multitask.keys import generator_key


def row_noise(batch: Batch, width: int, scale: float, *key: int | str) -> Tensor:
    """Normal noise (S, L, width) of standard deviation `scale` on the real tokens of `batch`, zero on padding.

    Drawn per sequence under a generator keyed by `key`, the row's number and its place in the row, on the CPU: the same
    on every device, in every batch and on every rank.
    """
    sizes, rows = batch.lengths.tolist(), batch.on_host.rows.tolist()
    noise = torch.zeros(*batch.input_ids.shape, width)
    generator = torch.Generator()
    for sequence, size in enumerate(sizes):
        place, row = divmod(sequence, len(rows))
        generator.manual_seed(generator_key(*key, rows[row], place))
        noise[sequence, :size] = torch.randn(size, width, generator=generator)
    return to_device(noise * scale, batch.input_ids.device)
