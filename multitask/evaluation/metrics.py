"""Scores from predictions and labels."""

from collections.abc import Mapping

import numpy as np
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score

from multitask.config import RunConfig, TaskConfig


def task_scores(task: TaskConfig, predictions: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Scores of one task by metric name, from predictions (R,) and labels (R,).

    Correlations are 0 where the predictions are all the same: a constant says nothing about the order.
    """
    if not task.kind.classes:
        constant = np.ptp(predictions) == 0 or np.ptp(labels) == 0
        if constant or len(labels) < 2:
            return {"pearson": 0.0, "spearman": 0.0}
        pearson, spearman = pearsonr(predictions, labels), spearmanr(predictions, labels)
        return {"pearson": float(pearson.statistic), "spearman": float(spearman.statistic)}
    classes = np.arange(task.kind.classes)
    return {
        "accuracy": float(accuracy_score(labels, predictions)),
        # Over all declared classes; one that neither occurs nor is predicted counts as 0.
        "macro_f1": float(f1_score(labels, predictions, labels=classes, average="macro", zero_division=0)),
    }


def dev_scores(config: RunConfig, scores: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Scores by task and metric as `dev/<task>/<metric>`, with `dev/mean` over the selected tasks' own metrics."""
    flat = {f"dev/{task}/{name}": value for task, own in scores.items() for name, value in own.items()}
    flat["dev/mean"] = float(
        np.mean([scores[task][config.tasks[task].selection_metric] for task in config.selected_tasks])
    )
    return flat
