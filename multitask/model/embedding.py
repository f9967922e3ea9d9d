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
from multitask.device import to_device
from multitask.model.network import MultitaskModel

_MOST_SEQUENCES, _MOST_TOKENS = 4, 32


class TokenGradient(NamedTuple):
    """Rows of an embedding's gradient: `ids` (U,) int64 ascending without repetition, on the host; `rows` (U, D)."""

    ids: Tensor
    rows: Tensor


class EmbeddingTap:
    """Takes the embedded tokens of a forward pass as a leaf of the autograd graph.

    Inside `record()` each call of `embedding` gives a detached output; `gradient` turns the gradients of these
    outputs into rows of the embedding's gradient. Outside, the embedding is as it was. Ids lie on the host: which rows there
    are, and so how many, is known there before a GPU has come to them.
    """

    def __init__(self, embedding: nn.Embedding) -> None:
        self.padding_id = -1 if embedding.padding_idx is None else embedding.padding_idx
        self._taken: list[tuple[Tensor, Tensor]] | None = None
        self._ids: Tensor | None = None
        self._hook = embedding.register_forward_hook(self._take)

    def remove(self) -> None:
        """Leave the embedding as it was."""
        self._hook.remove()

    @contextmanager
    def record(self, ids: Tensor | None = None) -> Iterator[list[tuple[Tensor, Tensor]]]:
        """Collects (ids, embedded leaf) of every call inside; `ids`: those of all calls, on the host, read from each if None."""
        self._taken, self._ids = [], ids
        try:
            yield self._taken
        finally:
            self._taken = self._ids = None

    def _take(self, module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
        if self._taken is None:
            return output
        leaf = output.detach().requires_grad_()
        ids = arguments[0].cpu() if self._ids is None else self._ids
        assert ids.shape == leaf.shape[:-1], "every call embeds the same ids"
        self._taken.append((ids, leaf))
        return leaf

    def gradient(self, ids: list[Tensor], gradients: list[Tensor]) -> TokenGradient:
        """Token ids (…) and gradients of the embedded tokens (…, D), as taken, to rows that are summed per id.

        The padding row gets no gradient, as in `torch.nn.Embedding`.
        """
        flat_ids = torch.cat([i.reshape(-1) for i in ids])
        flat = torch.cat([g.reshape(-1, g.shape[-1]) for g in gradients]).float()
        unique, inverse = torch.unique(flat_ids, return_inverse=True)
        kept = unique != self.padding_id
        # The padding row comes last, so that it is cut off without a copy.
        places = torch.where(kept, kept.cumsum(0) - 1, len(unique) - 1)
        # The backward of torch's own embedding: its order of summation is fixed, on GPUs too.
        inverse = to_device(places[inverse], flat.device)
        rows = torch.ops.aten.embedding_dense_backward(flat, inverse, len(unique), -1, False)
        return TokenGradient(unique[kept], rows[: int(kept.sum())])


def tap_embedding(model: MultitaskModel, batch: Batch) -> EmbeddingTap | None:
    """A tap on the token embedding of `model`; None where there is none that is a plain lookup of the batch's own ids.

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
    tapped = torch.zeros_like(dense).index_copy(0, gradient.ids.to(dense.device), gradient.rows)
    given = model.encoder.embedded_ids(*(t.cpu() for t in _cut(batch)[:2]))
    if all(torch.equal(ids, given) for ids, _ in taken) and torch.allclose(
        tapped, dense, rtol=1e-3, atol=1e-5 * float(dense.abs().max())
    ):
        return tap
    tap.remove()
    return None


def _some_loss(model: MultitaskModel, batch: Batch) -> Tensor:
    """A number that depends on every embedding of a few sequences, without dropout."""
    was_training = model.training
    embeddings = model.eval().encoder(*_cut(batch))
    model.train(was_training)
    return (embeddings * torch.linspace(-1, 1, embeddings.numel(), device=embeddings.device).view_as(embeddings)).sum()


def _cut(batch: Batch) -> list[Tensor]:
    """Ids, mask and token types of a few sequences."""
    return [t[:_MOST_SEQUENCES, :_MOST_TOKENS] for t in (batch.input_ids, batch.attention_mask, batch.token_type_ids)]
