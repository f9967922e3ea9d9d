"""The files of the run folder that tell of a checkpoint: written beside it, each in its turn."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cluster.storage.checkpoint import BEST_TABLES, FOLDER, PREDICTIONS, checkpoint_name
from cluster.storage.dev_predictions import encode_dev_predictions, read_dev_predictions
from cluster.storage.run_folder import RunFolder
from cluster.training.dev_evaluation import DevEvaluation
from cluster.training.history import History
from multitask.plain_json import encode_json


@dataclass(frozen=True)
class RunFiles:
    """What rank 0 writes `before` a checkpoint's files and `after` its manifest."""

    before: Callable[[], None]
    after: Callable[[], None]


def files_of_best(step: int, best: DevEvaluation) -> dict[str, bytes]:
    """What tells of the best evaluation, in the run's folder and in that of its checkpoint; name to content."""
    return {BEST_TABLES: encode_json(best.tables), PREDICTIONS: encode_dev_predictions(step, best.predictions)}


def run_files(folder: RunFolder, best: Mapping[str, bytes], history: History, result: Mapping[str, Any]) -> RunFiles:
    """The files of the run after some steps, which stay those of this step while training goes on.

    `best`: those of this step's evaluation, where it is the best so far: what a start that goes on with the checkpoint shows of
    it must be there. `history` and `result` tell of the checkpoint, and follow it.
    """
    kept = history.copy()

    def before() -> None:
        for name, data in best.items():
            folder.storage.write(name, data)

    def after() -> None:
        kept.write(folder)
        folder.write_result(result)

    return RunFiles(before, after)


def best_tables(folder: RunFolder, step: int) -> dict[str, Any]:
    """The tables of the best evaluation, after `step` steps; what is lost of its files comes from its checkpoint."""
    if folder.read_or_set_aside(BEST_TABLES) is None:
        _restore(folder, step, BEST_TABLES)
    if read_dev_predictions(folder, step) is None:
        _restore(folder, step, PREDICTIONS)
    return folder.read_or_set_aside(BEST_TABLES) or {}


def _restore(folder: RunFolder, step: int, name: str) -> None:
    kept = f"{FOLDER}/{checkpoint_name(step)}/{name}"
    if folder.storage.exists(kept):
        folder.storage.write(name, folder.storage.read(kept))
