"""What a model gets wrong: confusion matrices, the worst errors, and predictions beside labels, as plain values."""

from typing import Any

import numpy as np

from multitask.config import TaskConfig
from multitask.config.kind import MultiLabel, class_names
from multitask.data import TaskTable
from multitask.evaluation.evaluate import Evaluation
from multitask.label_sets import set_indicators, set_members

WORST = 20
POINTS = 2000


def error_tables(task: str, config: TaskConfig, table: TaskTable, evaluation: Evaluation) -> dict[str, Any]:
    """Tables by name: `worst/<task>`, and by kind

    - one class a row: `confusion/<task>`,
    - binary: `false_positives/<task>` and `false_negatives/<task>`, the surest first,
    - regression: `scatter/<task>`, labels and predictions of at most 2,000 rows that lie evenly over the table.

    None for contrastive tasks, which have no labels.
    """
    if config.kind.name == "contrastive":
        return {}
    if isinstance(config.kind, MultiLabel):
        return {f"worst/{task}": _worst_sets(config.kind, table, evaluation)}
    errors = _errors(table, evaluation)
    tables: dict[str, Any] = {f"worst/{task}": _worst(table, evaluation, errors)}
    labels = np.asarray(table.labels)
    if not config.kind.classes:
        return tables | {f"scatter/{task}": _scatter(labels, evaluation.predictions)}
    tables[f"confusion/{task}"] = confusion_table(config, labels, evaluation.predictions)
    if config.kind.name == "binary":
        for name, label in (("false_positives", 0), ("false_negatives", 1)):
            tables[f"{name}/{task}"] = _worst(table, evaluation, np.where(labels == label, errors, -1.0))
    return tables


def confusion_table(config: TaskConfig, labels: np.ndarray, predictions: np.ndarray) -> dict[str, Any]:
    """`labels` and `matrix`; matrix[i][j] counts rows of class i that were predicted as j."""
    from sklearn.metrics import confusion_matrix

    classes = list(range(config.kind.classes))
    matrix = confusion_matrix(labels.astype(int), predictions.astype(int), labels=classes)
    return {"labels": [str(name) for name in class_names(config.kind)], "matrix": matrix.tolist()}


def worst_errors(table: TaskTable, evaluation: Evaluation) -> dict[str, Any]:
    """The rows with the largest error: distance for regression, else how sure the model was of another class."""
    return _worst(table, evaluation, _errors(table, evaluation))


def _errors(table: TaskTable, evaluation: Evaluation) -> np.ndarray:
    """Size of each row's error (R,); −1 where a class is right."""
    labels = np.asarray(table.labels, dtype=np.float64)
    if evaluation.probabilities is None:
        return np.abs(evaluation.predictions - labels)
    true = evaluation.probabilities[np.arange(len(labels)), labels.astype(int)]
    return np.where(evaluation.predictions == labels, -1.0, 1.0 - true)


def _worst_sets(kind: MultiLabel, table: TaskTable, evaluation: Evaluation) -> dict[str, Any]:
    """The rows with most classes wrong, label and prediction by name."""
    labels = np.asarray(table.labels)
    true, said = (set_indicators(own, kind.classes) for own in (labels, evaluation.predictions))
    worst, names = _worst(table, evaluation, (true != said).sum(1)), class_names(kind)
    for row in worst["rows"]:
        row[3:] = [", ".join(str(names[k]) for k in set_members(number)) for number in row[3:]]
    return worst


def _worst(table: TaskTable, evaluation: Evaluation, errors: np.ndarray) -> dict[str, Any]:
    worst = np.argsort(-errors, kind="stable")[:WORST]
    worst = worst[errors[worst] > 0]
    labels = np.asarray(table.labels, dtype=np.float64)
    rows = [
        [identity, text, pair or "", float(labels[row]), round(float(evaluation.predictions[row]), 4)]
        for row, identity, (text, pair) in zip(worst, table.ids(worst), table.texts(worst), strict=True)
    ]
    return {"columns": ["id", "text", "text_pair", "label", "prediction"], "rows": rows}


def _scatter(labels: np.ndarray, predictions: np.ndarray) -> dict[str, Any]:
    shown = np.unique(np.linspace(0, len(labels) - 1, min(len(labels), POINTS)).round().astype(int))
    rows = [[round(float(labels[row]), 4), round(float(predictions[row]), 4)] for row in shown]
    return {"columns": ["label", "prediction"], "rows": rows}
