"""Scores from predictions and labels; of all of them more is better."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from multitask.config import RunConfig, TaskConfig
from multitask.config.kind import MultiLabel
from multitask.data import Tables
from multitask.evaluation.evaluate import Evaluation, evaluate_together
from multitask.evaluation.shared import from_rank_zero
from multitask.label_sets import set_indicators
from multitask.model import MultitaskModel

Metric = Callable[[TaskConfig, Evaluation, np.ndarray], float]


def task_scores(task: TaskConfig, evaluation: Evaluation, labels: np.ndarray) -> dict[str, float]:
    """Scores of one task by metric name, from what was predicted of its rows and their labels (R,)."""
    return {name: float(METRICS[name](task, evaluation, labels)) for name in task.metrics}


def dev_scores(config: RunConfig, scores: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Scores by task and metric as `dev/<task>/<metric>`, with `dev/mean` over the selected tasks' own metrics."""
    flat = {f"dev/{task}/{name}": value for task, own in scores.items() for name, value in own.items()}
    flat["dev/mean"] = float(
        np.mean([scores[task][config.tasks[task].selection_metric] for task in config.selected_tasks])
    )
    return flat


def further_scores(model: MultitaskModel, config: RunConfig, tables: Tables, device: torch.device) -> dict[str, float]:
    """`dev_NAME/<task>/<metric>` of the dev sets beside the first; with a process group all ranks take part and have them."""
    scores: dict[str, float] = {}
    for split, task, table in tables.further():
        found = evaluate_together(model, task, table, tables.pad_id, device, config.precision)
        if found is not None:
            own = task_scores(config.tasks[task], found, np.asarray(table.labels))
            scores |= {f"{split}/{task}/{name}": value for name, value in own.items()}
    return from_rank_zero(lambda: scores) if tables.more_dev else scores


def accuracy(task: TaskConfig, found: Evaluation, labels: np.ndarray) -> float:
    """Share of the rows whose class is predicted."""
    return _sklearn().accuracy_score(labels, found.predictions)


def exact_match(task: TaskConfig, found: Evaluation, labels: np.ndarray) -> float:
    """Share of the rows whose set of classes is predicted as it is."""
    return float((labels == found.predictions).mean())


def micro_f1(task: TaskConfig, found: Evaluation, labels: np.ndarray) -> float:
    """F1 over all pairs of a row and a class, of tasks with several classes a row."""
    true, said = (set_indicators(own, task.kind.classes) for own in (labels, found.predictions))
    return _sklearn().f1_score(true, said, average="micro", zero_division=0)


def macro_f1(task: TaskConfig, found: Evaluation, labels: np.ndarray) -> float:
    """Mean F1 over all declared classes; one that neither occurs nor is predicted counts as 0."""
    if isinstance(task.kind, MultiLabel):
        true, said = (set_indicators(own, task.kind.classes) for own in (labels, found.predictions))
        return _sklearn().f1_score(true, said, average="macro", zero_division=0)
    classes = np.arange(task.kind.classes)
    return _sklearn().f1_score(labels, found.predictions, labels=classes, average="macro", zero_division=0)


def matthews(task: TaskConfig, found: Evaluation, labels: np.ndarray) -> float:
    """Matthews' correlation coefficient, for several classes R_K (Gorodkin 2004); 0 where all rows are of one class."""
    if len(np.union1d(labels, found.predictions)) == 1:
        return 0.0
    return _sklearn().matthews_corrcoef(labels, found.predictions)


def auc(task: TaskConfig, found: Evaluation, labels: np.ndarray) -> float:
    """Area under the ROC curve; the mean over the classes, each against all others, where there are several.

    Classes that no row or every row has are left out; ½, which is chance, where no class is left. Not a number where a
    probability is none.
    """
    chances = found.probabilities
    assert chances is not None, "a task with classes has probabilities"
    if not np.isfinite(chances).all():
        return math.nan
    classes = np.arange(task.kind.classes)
    true = set_indicators(labels, len(classes)) if isinstance(task.kind, MultiLabel) else labels[:, None] == classes
    areas = [_sklearn().roc_auc_score(true[:, c], chances[:, c]) for c in classes if 0 < true[:, c].sum() < len(labels)]
    return float(np.mean(areas)) if areas else 0.5


def quadratic_kappa(task: TaskConfig, found: Evaluation, labels: np.ndarray) -> float:
    """Cohen's κ with weights (i − j)² (Cohen 1968); 0 where labels and predictions are all of one and the same class."""
    if len(np.union1d(labels, found.predictions)) == 1:
        return 0.0
    return _sklearn().cohen_kappa_score(
        labels, found.predictions, weights="quadratic", labels=np.arange(task.kind.classes)
    )


def negative_mae(task: TaskConfig, found: Evaluation, labels: np.ndarray) -> float:
    """The mean absolute error, with a minus; of classes between their numbers."""
    return -float(np.abs(found.predictions - labels).mean())


def retrieval_accuracy(task: TaskConfig, found: Evaluation, labels: np.ndarray) -> float:
    """Share of the rows whose positive is nearest of all candidates."""
    return float(np.where(np.isnan(found.predictions), np.nan, found.predictions == 1).mean())


def mrr(task: TaskConfig, found: Evaluation, labels: np.ndarray) -> float:
    """The mean reciprocal rank of the rows' positives."""
    return float((1 / found.predictions).mean())


def pearson(task: TaskConfig, found: Evaluation, labels: np.ndarray) -> float:
    """The correlation; 0 where predictions or labels are all the same: a constant says nothing about the order."""
    return 0.0 if _says_nothing(found, labels) else _scipy().pearsonr(found.predictions, labels).statistic


def spearman(task: TaskConfig, found: Evaluation, labels: np.ndarray) -> float:
    """The correlation of the ranks; 0 as that of the values."""
    return 0.0 if _says_nothing(found, labels) else _scipy().spearmanr(found.predictions, labels).statistic


def _sklearn() -> Any:
    """Imported with the first score, and by the rank that scores alone: training begins a second sooner."""
    import sklearn.metrics

    return sklearn.metrics


def _scipy() -> Any:
    import scipy.stats

    return scipy.stats


def _says_nothing(found: Evaluation, labels: np.ndarray) -> bool:
    return bool(len(labels) < 2 or np.ptp(found.predictions) == 0 or np.ptp(labels) == 0)


METRICS: dict[str, Metric] = {
    "micro_f1": micro_f1,
    "exact_match": exact_match,
    "accuracy": accuracy,
    "macro_f1": macro_f1,
    "matthews": matthews,
    "auc": auc,
    "quadratic_kappa": quadratic_kappa,
    "negative_mae": negative_mae,
    "retrieval_accuracy": retrieval_accuracy,
    "mrr": mrr,
    "pearson": pearson,
    "spearman": spearman,
}
