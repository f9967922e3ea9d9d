"""The predictions behind a run's best dev scores, row by row: a file of the run folder."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from cluster.storage.checkpoint import PREDICTIONS
from cluster.storage.run_folder import RunFolder

_LABELS, _PREDICTED, _STEP = "labels", "predictions", "step"


@dataclass(frozen=True)
class TaskPredictions:
    """Labels (R,) and predictions (R,) of a task's dev rows, on the labels' scale, in the order of its table."""

    labels: np.ndarray
    predictions: np.ndarray


def encode_dev_predictions(step: int, tasks: Mapping[str, TaskPredictions]) -> bytes:
    """What the file holds of the predictions after `step` steps."""
    arrays = {_STEP: np.array([step], np.int64)}
    for task, own in tasks.items():
        arrays[f"{_LABELS}/{task}"] = np.asarray(own.labels)
        arrays[f"{_PREDICTED}/{task}"] = np.asarray(own.predictions, np.asarray(own.labels).dtype)
    return save(arrays)


def read_dev_predictions(folder: RunFolder, step: int) -> dict[str, TaskPredictions] | None:
    """Task to its predictions after `step` steps; None where the folder holds none, or those of another step."""
    if not folder.storage.exists(PREDICTIONS):
        return None
    try:
        arrays = load(folder.storage.read(PREDICTIONS))
    except SafetensorError:
        return None
    if int(arrays[_STEP][0]) != step:
        return None
    tasks = [name.removeprefix(f"{_LABELS}/") for name in arrays if name.startswith(f"{_LABELS}/")]
    return {task: TaskPredictions(arrays[f"{_LABELS}/{task}"], arrays[f"{_PREDICTED}/{task}"]) for task in tasks}
