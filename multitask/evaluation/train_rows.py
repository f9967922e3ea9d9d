"""Scores of training rows, to set beside those of dev rows."""

import numpy as np
import torch

from multitask.config import RunConfig
from multitask.data import Tables
from multitask.data.permutation import Permutation
from multitask.evaluation.evaluate import evaluate_together
from multitask.evaluation.metrics import task_scores
from multitask.evaluation.shared import from_rank_zero
from multitask.model import MultitaskModel


def train_scores(model: MultitaskModel, config: RunConfig, tables: Tables, device: torch.device) -> dict[str, float]:
    """`train/<task>/<metric>` of every task with labels, on `training.score_train_rows` rows of each; empty without it.

    The same rows in every evaluation, among those that training uses, drawn by the seed. With a process group all ranks
    take part and have the scores.
    """
    scores: dict[str, float] = {}
    for task, table in tables.train.items():
        if config.tasks[task].kind.name == "contrastive" or config.training.score_train_rows is None:
            continue
        rows = scored_rows(config, task, table.rows)
        found = evaluate_together(model, task, table, tables.pad_id, device, config.precision, rows)
        if found is not None:
            own = task_scores(config.tasks[task], found, np.asarray(table.labels[rows]))
            scores |= {f"train/{task}/{name}": value for name, value in own.items()}
    return from_rank_zero(lambda: scores) if config.training.score_train_rows is not None else scores


def scored_rows(config: RunConfig, task: str, total: int) -> np.ndarray:
    """The rows of `task`, of `total` in its table, that are scored, in order."""
    wanted = (total, config.tasks[task].train_rows, config.training.score_train_rows)
    size = min(number for number in wanted if number is not None)
    # The order in which `train_rows` draws, so that what is scored is trained on.
    return np.sort(Permutation(total, f"{config.seed}/{task}", "used")(np.arange(size)))
