"""Losses between the rows of a batch."""

import torch
from torch import Tensor
from torch.nn import functional

from multitask.data import Batch
from multitask.model import MultitaskModel


def embed_texts(model: MultitaskModel, task: str, batch: Batch) -> Tensor:
    """Embeddings (T, B, D) of the texts of the rows of `batch`; a single text is embedded twice, T = 2."""
    if batch.sequences == 1:
        return torch.stack([model.embed(task, batch), model.embed(task, batch)])
    return model.embed(task, batch).unflatten(0, (batch.sequences, -1))


def contrastive_losses(embeddings: Tensor, temperature: float) -> Tensor:
    """The loss of each row (B,) from the embeddings (T, B, D) of its T = 2 or 3 texts.

    Row i: −log softmax over all texts t_j of cos(u_i, t_j) / τ, taken at its positive v_i. The texts are the
    positives v of all rows and, where T = 3, their negatives. Two passes over the same texts give unsupervised SimCSE, T =
    3 supervised SimCSE (Gao et al. 2021, equations 1 and 5); T = 2 with two texts a row is the multiple negatives
    ranking loss (Henderson et al. 2017, section 4.4) on scaled cosines.
    """
    anchors, others = embeddings[0].float(), embeddings[1:].float().flatten(0, 1)
    similarities = functional.normalize(anchors, dim=-1) @ functional.normalize(others, dim=-1).T
    positives = torch.arange(len(anchors), device=anchors.device)
    return functional.cross_entropy(similarities / temperature, positives, reduction="none")
