"""Losses between the rows of a batch."""

import torch
from torch import Tensor
from torch.nn import functional

from multitask.data import Batch
from multitask.model import MultitaskModel

# As signed integers: 2⁶⁴ over the golden ratio, and the two factors of splitmix64's finalizer.
_SPREAD, _FIRST, _SECOND = -7046029254386353131, -4658895280553007687, -7723592293110705685


def embed_texts(model: MultitaskModel, task: str, batch: Batch) -> Tensor:
    """Embeddings (T, B, D) of the texts of the rows of `batch`; a single text is embedded twice, T = 2."""
    if batch.sequences == 1:
        return torch.stack([model.embed(task, batch), model.embed(task, batch)])
    return model.embed(task, batch).unflatten(0, (batch.sequences, -1))


def text_keys(batch: Batch) -> Tensor:
    """Keys (T, B) int64 of the texts of the rows of `batch`, T as in `embed_texts`, where the batch lies.

    Texts of the same tokens have the same key, in every batch and on every rank; others have, but for one chance in 2⁶⁴, not.
    """
    places = torch.arange(1, batch.input_ids.shape[1] + 1, device=batch.input_ids.device)
    tokens = _mix(_mix(batch.input_ids + _SPREAD) + places * _SPREAD)
    keys = (tokens * batch.attention_mask).sum(1).unflatten(0, (batch.sequences, -1))
    return keys.expand(2, -1) if batch.sequences == 1 else keys


def contrastive_losses(embeddings: Tensor, keys: Tensor, temperature: float) -> Tensor:
    """The loss of each row (B,) from the embeddings (T, B, D) and the keys (T, B) of its T = 2 or 3 texts.

    Row i: −log softmax over texts t_j of cos(u_i, t_j) / τ, taken at its positive v_i. The texts are the positives v of
    all rows and, where T = 3, their negatives. Two passes over the same texts give unsupervised SimCSE, T = 3 supervised
    SimCSE (Gao et al. 2021, equations 1 and 5); T = 2 with two texts a row is the multiple negatives ranking loss
    (Henderson et al. 2017, section 4.4) on scaled cosines.

    None of the papers says what becomes of a text that stands in several rows. Here what is known to be no negative of u_i
    is left out of its softmax: texts equal to u_i, to v_i, or to the positive of another row whose anchor equals u_i.
    """
    anchors, others = embeddings[0].float(), embeddings[1:].float().flatten(0, 1)
    similarities = functional.normalize(anchors, dim=-1) @ functional.normalize(others, dim=-1).T
    similarities = (similarities / temperature).masked_fill(_no_negatives(keys), -torch.inf)
    positives = torch.arange(len(anchors), device=anchors.device)
    return functional.cross_entropy(similarities, positives, reduction="none")


def _no_negatives(keys: Tensor) -> Tensor:
    """Which texts (B, (T − 1) · B) are no negatives of each row's anchor, its own positive aside."""
    anchors, positives, others = keys[0][:, None], keys[1][:, None], keys[1:].flatten()[None]
    same_anchor, is_positive = (anchors == anchors.T).float(), (positives == others).float()
    left_out = (others == anchors) | (same_anchor @ is_positive > 0)
    left_out[:, : len(anchors)].fill_diagonal_(False)
    return left_out


def _mix(bits: Tensor) -> Tensor:
    """Each of these int64 to another, of which every bit depends on all of its own (Steele, Lea and Flood 2014)."""
    bits = (bits ^ ((bits >> 30) & (2**34 - 1))) * _FIRST
    bits = (bits ^ ((bits >> 27) & (2**37 - 1))) * _SECOND
    return bits ^ ((bits >> 31) & (2**33 - 1))
