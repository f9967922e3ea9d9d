"""How far up the list of all candidates a text finds its positive."""

import numpy as np
import torch
from torch import Tensor

from multitask.data import Batch
from multitask.model import MultitaskModel
from multitask.objectives.contrastive import text_keys

_CHUNK = 512


def read_texts(model: MultitaskModel, task: str, batch: Batch) -> tuple[Tensor, Tensor]:
    """Embeddings (B, T, D) of length 1 and keys (B, T) of the texts of the rows of `batch`."""
    vectors = torch.nn.functional.normalize(model.embed(task, batch).float(), dim=-1)
    texts = vectors.unflatten(0, (batch.sequences, -1)).transpose(0, 1)
    return texts, text_keys(batch).T


def retrieval_ranks(texts: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """The rank (R,) of each row's positive by cosine to its first text, 1 where it is nearest, among the texts of R rows.

    `texts` (R, T, D), of length 1, and their `keys` (R, T): first text, positive, and a negative where T = 3. Candidates are
    the positives and negatives of all rows, without those that are equal to the row's first text, or to a positive of it or
    of another row with the same first text. Not a number where an embedding is none.
    """
    anchors, others = texts[:, 0], np.concatenate([texts[:, place] for place in range(1, texts.shape[1])])
    other_keys = keys[:, 1:].T.ravel()
    positives: dict[int, set[int]] = {}
    for anchor, positive in keys[:, :2].tolist():
        positives.setdefault(anchor, set()).add(positive)
    ranks = np.empty(len(texts))
    for start in range(0, len(texts), _CHUNK):
        rows = slice(start, start + _CHUNK)
        nearness = anchors[rows] @ others.T
        own = np.einsum("rd,rd->r", anchors[rows], texts[rows, 1])
        for place, anchor in enumerate(keys[rows, 0].tolist()):
            nearness[place, np.isin(other_keys, [anchor, *positives[anchor]])] = -np.inf
        ranks[rows] = np.where(np.isfinite(own), 1 + (nearness > own[:, None]).sum(1), np.nan)
    return ranks
