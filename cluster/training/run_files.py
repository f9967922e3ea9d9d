"""The files of the run folder that tell of a checkpoint: written beside it, each in its turn."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cluster.storage.dev_predictions import write_dev_predictions
from cluster.storage.run_folder import RunFolder
from cluster.training.dev_evaluation import DevEvaluation
from cluster.training.history import History


@dataclass(frozen=True)
class RunFiles:
    """What rank 0 writes `before` a checkpoint's files and `after` its manifest."""

    before: Callable[[], None]
    after: Callable[[], None]


def run_files(
    folder: RunFolder, step: int, best: DevEvaluation | None, history: History, result: Mapping[str, Any]
) -> RunFiles:
    """The files of the run after `step` steps, which stay those of this step while training goes on.

    `best`: the evaluation of this step, where it is the best so far: what a start that goes on with the checkpoint shows of
    it must be there. `history` and `result` tell of the checkpoint, and follow it.
    """
    kept = history.copy()

    def before() -> None:
        if best is not None:
            folder.write_json("best_tables.json", best.tables)
            write_dev_predictions(folder, step, best.predictions)

    def after() -> None:
        kept.write(folder)
        folder.write_result(result)

    return RunFiles(before, after)
