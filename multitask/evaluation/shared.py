"""What ranks found of their rows, sent to rank 0 alone and once, and what it makes of them, told to all."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


def place() -> tuple[int, int]:
    """Rank and number of ranks; one alone where there is no process group."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def gather_rows(own: Sequence[Tensor], rows: Sequence[int]) -> list[list[np.ndarray]] | None:
    """Tensors (rows of this rank, …) in host memory, of all ranks: on rank 0, for each tensor one array a rank; None on the others.

    `rows`: how many each rank has. All ranks take part, with tensors of the same kinds: they are joined to one message each.
    """
    rank, world = place()
    if world == 1:
        return [[tensor.numpy()] for tensor in own]
    sizes = [tensor[:1].nbytes if len(tensor) else tensor.new_empty((1, *tensor.shape[1:])).nbytes for tensor in own]
    message = torch.zeros(max(rows) * sum(sizes), dtype=torch.uint8)
    mine = torch.cat([tensor.contiguous().view(-1).view(torch.uint8) for tensor in own])
    message[: len(mine)] = mine
    received = [torch.empty_like(message) for _ in range(world)] if rank == 0 else None
    dist.gather(message, received)
    if received is None:
        return None
    found: list[list[np.ndarray]] = [[] for _ in own]
    for count, data in zip(rows, received, strict=True):
        parts = data[: count * sum(sizes)].split([count * size for size in sizes])
        for arrays, tensor, part in zip(found, own, parts, strict=True):
            # A copy begins where its elements may begin.
            arrays.append(part.clone().view(tensor.dtype).view(count, *tensor.shape[1:]).numpy())
    return found


def from_rank_zero(make: Callable[[], T]) -> T:
    """What `make` gives on rank 0, on all ranks: plain values, which are pickled."""
    rank, world = place()
    box = [make() if rank == 0 else None]
    if world > 1:
        dist.broadcast_object_list(box, src=0)
    return box[0]  # type: ignore[return-value]
