"""What a model makes of the dev rows."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from cluster.storage.dev_predictions import TaskPredictions
from multitask.config import RunConfig
from multitask.data import Tables
from multitask.evaluation import (
    dev_scores,
    error_tables,
    evaluate_together,
    from_rank_zero,
    further_scores,
    task_scores,
    train_scores,
)
from multitask.model import MultitaskModel


@dataclass(frozen=True)
class DevEvaluation:
    """Dev scores, and those of training rows that are wanted besides; on rank 0 also tables of what is wrong, and each row's prediction."""

    scores: dict[str, float]
    tables: dict[str, Any] = field(default_factory=dict)
    predictions: dict[str, TaskPredictions] = field(default_factory=dict)


def evaluate_dev(model: MultitaskModel, config: RunConfig, tables: Tables, device: torch.device) -> DevEvaluation:
    """Predict the dev rows of all tasks; every rank takes part and has the scores, rank 0 the rows and their tables."""
    scores: dict[str, dict[str, float]] = {}
    wrong: dict[str, Any] = {}
    predictions: dict[str, TaskPredictions] = {}
    for task, table in tables.dev.items():
        found = evaluate_together(model, task, table, tables.pad_id, device, config.precision)
        if found is None:
            continue
        own, labels = config.tasks[task], np.asarray(table.labels)
        scores[task] = task_scores(own, found, labels)
        wrong |= error_tables(task, own, table, found)
        # Rows without labels are the same rows none the less.
        predictions[task] = TaskPredictions(np.nan_to_num(labels), found.predictions)
    dev = from_rank_zero(lambda: dev_scores(config, scores))
    others = further_scores(model, config, tables, device) | train_scores(model, config, tables, device)
    return DevEvaluation(dev | others, wrong, predictions)
