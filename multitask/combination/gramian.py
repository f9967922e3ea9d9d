"""The K × K matrix of inner products between task gradients, and what is read from it."""

from collections.abc import Sequence

import torch
from torch import Tensor

# Elements of a chunk: 512 KiB in fp32, of which a core's cache holds a few and sums keep their digits; a GPU wants longer ones.
_CHUNK = {"cpu": 1 << 17, "cuda": 1 << 24}


def gramian(rows: Sequence[Tensor]) -> Tensor:
    """Inner products (K, K), fp32, of K gradients (P,).

    Taken in chunks of one length, whose products are added up in fp32 in their order. Where the K chunks fit a core's
    cache each gradient is read from memory once; where they do not (on a GPU, or with many tasks) it is read for each of
    its K products.
    """
    size, length = len(rows), rows[0].numel()
    total = torch.zeros(size, size, dtype=torch.float32, device=rows[0].device)
    chunk, matrix = _CHUNK.get(rows[0].device.type, 1 << 17), as_matrix(rows)
    for start in range(0, length, chunk):
        if matrix is not None:
            _add_products(matrix[:, start : start + chunk].float(), total)
            continue
        block = [row[start : start + chunk].float() for row in rows]
        for i in range(size):
            for j in range(i, size):
                total[i, j] += torch.dot(block[i], block[j])
    return total + total.triu(1).T


def _add_products(block: Tensor, total: Tensor) -> None:
    """A matrix by one of its rows reads that row once for all its products, and is never worked out in TF32.

    One matrix product, as flat as this (K × P by P × K), is no faster on a CPU.
    """
    for i, row in enumerate(block):
        total[i, i:].addmv_(block[i:], row)


def as_matrix(rows: Sequence[Tensor]) -> Tensor | None:
    """Rows at equal distances in one memory as the matrix (K, P) that they are; None for one alone, and where they lie otherwise.

    A matrix by a vector reads less than one row after the other.
    """
    if len(rows) < 2:
        return None
    first = rows[0]
    begins, width = [row.data_ptr() for row in rows], first.element_size()
    apart = (begins[1] - begins[0]) // width
    one_memory = all(row.untyped_storage().data_ptr() == first.untyped_storage().data_ptr() for row in rows)
    in_order = all(begin == begins[0] + k * apart * width for k, begin in enumerate(begins))
    if not one_memory or not in_order or apart < first.numel() or not all(row.is_contiguous() for row in rows):
        return None
    return first.as_strided((len(rows), first.numel()), (apart, 1))


def cosines(gramian: Tensor) -> Tensor:
    """Cosines (K, K) between the gradients of a Gramian; 0 beside a gradient that is zero."""
    norms = gramian.diagonal().clamp(min=0).sqrt()
    scale = torch.outer(norms, norms)
    return torch.where(scale > 0, gramian / scale.clamp(min=torch.finfo(gramian.dtype).tiny), torch.zeros_like(gramian))
