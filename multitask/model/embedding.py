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

from multitask.data import Batch
from multitask.model.network import MultitaskModel

_MOST_SEQUENCES, _MOST_TOKENS = 4, 32


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
        self._hook = embedding.register_forward_hook(self._take)

    def remove(self) -> None:
        """Leave the embedding as it was."""
        self._hook.remove()

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


def tap_embedding(model: MultitaskModel, batch: Batch) -> EmbeddingTap | None:
    """A tap on the token embedding of `model`; None where there is none that is a plain lookup.

    It is compared with autograd once, on a few tokens of `batch`: an encoder may use the embedding's weight in another way, too.
    """
    embedding = model.token_embedding()
    if embedding is None:
        return None
    tap, weight = EmbeddingTap(embedding[1]), embedding[1].weight
    dense = torch.autograd.grad(_some_loss(model, batch), weight)[0]
    with tap.record() as taken:
        loss = _some_loss(model, batch)
    gradient = tap.gradient([i for i, _ in taken], list(torch.autograd.grad(loss, [leaf for _, leaf in taken])))
    tapped = torch.zeros_like(dense).index_copy(0, gradient.ids, gradient.rows)
    if torch.allclose(tapped, dense, rtol=1e-3, atol=1e-5 * float(dense.abs().max())):
        return tap
    tap.remove()
    return None


def _some_loss(model: MultitaskModel, batch: Batch) -> Tensor:
    """A number that depends on every embedding of a few sequences, without dropout."""
    cut = [t[:_MOST_SEQUENCES, :_MOST_TOKENS] for t in (batch.input_ids, batch.attention_mask, batch.token_type_ids)]
    was_training = model.training
    embeddings = model.eval().encoder(*cut)
    model.train(was_training)
    return (embeddings * torch.linspace(-1, 1, embeddings.numel(), device=embeddings.device).view_as(embeddings)).sum()
