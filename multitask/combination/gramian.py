"""The K × K matrix of inner products between task gradients, and what is read from it."""

from collections.abc import Sequence

import torch
from torch import Tensor

# Elements of a chunk: 1 MiB in fp32, of which a core's cache holds a few; a GPU wants longer ones.
_CHUNK = {"cpu": 1 << 18, "cuda": 1 << 24}


def gramian(rows: Sequence[Tensor]) -> Tensor:
    """Inner products (K, K), fp32, of K gradients (P,) that lie apart.

    Taken in chunks of one length, whose products are added up in fp32 in their order. Where the K chunks fit a core's
    cache each gradient is read from memory once; where they do not (on a GPU, or with many tasks) it is read for each of
    its K products.
    """
    size, length = len(rows), rows[0].numel()
    total = torch.zeros(size, size, dtype=torch.float32, device=rows[0].device)
    chunk = _CHUNK.get(rows[0].device.type, 1 << 18)
    for start in range(0, length, chunk):
        block = [row[start : start + chunk].float() for row in rows]
        for i in range(size):
            for j in range(i, size):
                # A few dot products beat a matrix product this flat (K × P by P × K) threefold on a CPU.
                total[i, j] += torch.dot(block[i], block[j])
    return total + total.triu(1).T


def cosines(gramian: Tensor) -> Tensor:
    """Cosines (K, K) between the gradients of a Gramian; 0 beside a gradient that is zero."""
    norms = gramian.diagonal().clamp(min=0).sqrt()
    scale = torch.outer(norms, norms)
    return torch.where(scale > 0, gramian / scale.clamp(min=torch.finfo(gramian.dtype).tiny), torch.zeros_like(gramian))
