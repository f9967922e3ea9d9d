"""Embeddings of a batch that is spread over the ranks."""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor


def gather_embeddings(own: Sequence[Tensor], shape: tuple[int, int], device: torch.device) -> tuple[Tensor, slice]:
    """Everybody's embeddings (T, B, D) in fp32, in the order of the ranks, and which of the B rows are this rank's.

    `own`: this rank's embeddings, each (T, b, D), perhaps none at all; `shape`: (T, D). All ranks take part.
    """
    texts, width = shape
    local = torch.cat([torch.zeros(texts, 0, width, device=device), *(part.float() for part in own)], dim=1)
    rank, world = dist.get_rank(), dist.get_world_size()
    if world == 1:
        return local, slice(0, local.shape[1])
    counts = torch.zeros(world, dtype=torch.int64, device=device)
    counts[rank] = local.shape[1]
    dist.all_reduce(counts)
    sizes = counts.tolist()
    padded = local.new_zeros(texts, max(sizes), width)
    padded[:, : sizes[rank]] = local
    everyone = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(everyone, padded)
    start = sum(sizes[:rank])
    return torch.cat([p[:, :n] for p, n in zip(everyone, sizes, strict=True)], dim=1), slice(start, start + sizes[rank])
