"""What a model gets wrong: confusion matrices and the worst errors, as plain values."""

from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix

from multitask.config import TaskConfig
from multitask.data import TaskTable
from multitask.evaluation.evaluate import Evaluation

WORST = 20


def error_tables(task: str, config: TaskConfig, table: TaskTable, evaluation: Evaluation) -> dict[str, Any]:
    """`confusion/<task>` for tasks with classes, and `worst/<task>`."""
    tables: dict[str, Any] = {f"worst/{task}": worst_errors(config, table, evaluation)}
    if config.kind.name != "regression":
        tables[f"confusion/{task}"] = confusion_table(config, np.asarray(table.labels), evaluation.predictions)
    return tables


def confusion_table(config: TaskConfig, labels: np.ndarray, predictions: np.ndarray) -> dict[str, Any]:
    """`labels` and `matrix`; matrix[i][j] counts rows of class i that were predicted as j."""
    classes = list(range(config.kind.classes if config.kind.name == "classification" else 2))
    matrix = confusion_matrix(labels.astype(int), predictions.astype(int), labels=classes)
    return {"labels": [str(c) for c in classes], "matrix": matrix.tolist()}


def worst_errors(config: TaskConfig, table: TaskTable, evaluation: Evaluation) -> dict[str, Any]:
    """The rows with the largest error: distance for regression, else the least probability of the true class."""
    labels = np.asarray(table.labels, dtype=np.float64)
    if evaluation.probabilities is None:
        error = np.abs(evaluation.predictions - labels)
    else:
        true = evaluation.probabilities[np.arange(len(labels)), labels.astype(int)]
        error = np.where(evaluation.predictions == labels, -1.0, 1.0 - true)
    worst = np.argsort(-error, kind="stable")[:WORST]
    worst = worst[error[worst] > 0]
    rows = [
        [identity, text, pair or "", float(labels[row]), round(float(evaluation.predictions[row]), 4)]
        for row, identity, (text, pair) in zip(worst, table.ids(worst), table.texts(worst), strict=True)
    ]
    return {"columns": ["id", "text", "text_pair", "label", "prediction"], "rows": rows}
