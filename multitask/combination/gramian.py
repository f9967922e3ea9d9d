"""The K × K matrix of inner products between task gradients, and what is read from it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from multitask.device import full_products

# Elements of a gradient in one product: few enough that a core's cache holds those of eight gradients and that sums keep their digits.
_CHUNK = 1 << 13
# Elements of a gradient that are taken at once: fewer where they have to be copied first, as of gradients that lie apart or are no fp32.
_BLOCK = {"cpu": 1 << 20, "cuda": 1 << 24}
_COPIED = {"cpu": 1 << 18, "cuda": 1 << 24}


def gramian(rows: Sequence[Tensor]) -> Tensor:
    """Inner products (K, K), fp32, of K gradients (P,).

    Taken in chunks of one length, one product (K × chunk by chunk × K) for each, which are shared out among the cores, and
    added up in fp32. One product of the whole, as flat as it is, keeps one core busy and fewer digits.
    """
    size, length, device = len(rows), rows[0].numel(), rows[0].device
    total = torch.zeros(size, size, dtype=torch.float32, device=device)
    matrix = as_matrix(rows)
    at_once = (_BLOCK if matrix is not None and matrix.dtype == torch.float32 else _COPIED).get(device.type, 1 << 18)
    with full_products():
        for start in range(0, length, at_once):
            if matrix is not None:
                total += _products(matrix[:, start : start + at_once].float())
            else:
                total += _products(torch.stack([row[start : start + at_once].float() for row in rows]))
    return total


def _products(block: Tensor) -> Tensor:
    """Inner products of the rows of (K, P), of whole chunks and of what is left of them."""
    if len(block) == 1:
        return torch.dot(block[0], block[0])
    whole = block.shape[1] // _CHUNK * _CHUNK
    rest = block[:, whole:]
    products = rest @ rest.T
    if whole:
        chunks = block[:, :whole].unflatten(1, (-1, _CHUNK)).transpose(0, 1)
        products += torch.bmm(chunks, chunks.transpose(1, 2)).sum(0)
    return products


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
