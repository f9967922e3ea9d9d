"""The gradient of the word embedding as the few rows that it has.

The dense gradient of a vocabulary of 30,522 words is half of a small encoder's gradient, and all but the rows of
the batch's own tokens are zero. The tap makes autograd stop at the embedded tokens, so that the dense gradient is
never made, kept, multiplied or sent.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn


class TokenGradient(NamedTuple):
    """Rows of an embedding's gradient: `ids` (U,) int64 ascending without repetition, `rows` (U, D)."""

    ids: Tensor
    rows: Tensor


class EmbeddingTap:
    """Takes the embedded tokens of a forward pass as a leaf of the autograd graph.

    Inside `record()` each call of `embedding` gives a detached output; `gradient` turns the gradients of these
    outputs into rows of the embedding's gradient. Outside, the embedding is as it was.
    """

    def __init__(self, embedding: nn.Embedding) -> None:
        self.padding_id = -1 if embedding.padding_idx is None else embedding.padding_idx
        self._taken: list[tuple[Tensor, Tensor]] | None = None
        embedding.register_forward_hook(self._take)

    @contextmanager
    def record(self) -> Iterator[list[tuple[Tensor, Tensor]]]:
        """Collects (ids, embedded leaf) of every call inside."""
        self._taken = []
        try:
            yield self._taken
        finally:
            self._taken = None

    def _take(self, module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
        if self._taken is None:
            return output
        leaf = output.detach().requires_grad_()
        self._taken.append((arguments[0], leaf))
        return leaf

    def gradient(self, ids: list[Tensor], gradients: list[Tensor]) -> TokenGradient:
        """Token ids (…) and gradients of the embedded tokens (…, D), as taken, to rows that are summed per id.

        The padding row gets no gradient, as in `torch.nn.Embedding`.
        """
        flat_ids = torch.cat([i.reshape(-1) for i in ids])
        flat = torch.cat([g.reshape(-1, g.shape[-1]) for g in gradients]).float()
        unique, inverse = torch.unique(flat_ids, return_inverse=True)
        # The backward of torch's own embedding: its order of summation is fixed, on GPUs too.
        rows = torch.ops.aten.embedding_dense_backward(flat, inverse, len(unique), -1, False)
        kept = unique != self.padding_id
        return TokenGradient(unique[kept], rows[kept])
