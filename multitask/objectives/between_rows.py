"""Tasks whose loss runs between the rows of a batch: what it reads of a row, and the losses of all rows.

It is worked out from the outputs and facts of all rows of the global batch: every rank must be given everybody's.
"""

import torch
from torch import Tensor

from multitask.config import TaskConfig
from multitask.config.kind import Contrastive
from multitask.data import Batch
from multitask.model import MultitaskModel, RankingHead
from multitask.objectives.contrastive import contrastive_losses, embed_texts, text_keys


def compared_outputs(model: MultitaskModel, task: str, batch: Batch) -> Tensor:
    """What the loss of `task` reads of the model on the B rows of `batch`, (T, B, D).

    Of contrastive tasks the embeddings of a row's T texts; where scores are put in order the raw outputs, T = 1.
    """
    return model(task, batch)[None] if isinstance(model.head(task), RankingHead) else embed_texts(model, task, batch)


def compared_facts(model: MultitaskModel, task: str, batch: Batch) -> Tensor:
    """What the loss of `task` reads of the rows themselves, (T, B): keys of their texts, or labels where scores are put in order."""
    return batch.labels[None] if isinstance(model.head(task), RankingHead) else text_keys(batch)


def no_rows(model: MultitaskModel, task: str, own: TaskConfig) -> tuple[Tensor, Tensor]:
    """Outputs (T, 0, D) in fp32 and facts (T, 0) of no rows."""
    head = model.head(task)
    if isinstance(head, RankingHead):
        return torch.zeros(1, 0, head.features.width), torch.zeros(1, 0)
    texts = 3 if own.columns.negative else 2
    return torch.zeros(texts, 0, model.encoder.width), torch.zeros(texts, 0, dtype=torch.int64)


def compared_losses(model: MultitaskModel, task: str, own: TaskConfig, outputs: Tensor, facts: Tensor) -> Tensor:
    """Losses (B,) whose mean is that of the global batch, from the outputs (T, B, D) and facts (T, B) of all of its rows."""
    head = model.head(task)
    if isinstance(head, RankingHead):
        return head.batch_loss(outputs[0], facts[0]).expand(facts.shape[1])
    assert isinstance(own.kind, Contrastive)
    return contrastive_losses(outputs, facts, own.kind.temperature)
