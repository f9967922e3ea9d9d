"""What a report is made from: a run folder, or an export."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.storage.run_folder import RunFolder
from cluster.storage.storage import Storage
from cluster.training.history import FILE, Point
from multitask.config import RunConfig
from multitask.errors import UserError


@dataclass(frozen=True)
class Source:
    """A run as the report sees it.

    `result`: the values of `result.json`, empty for an export or before the first evaluation. `scores`: dev scores of the
    best checkpoint. `train` and `dev`: the points of the history. `tables`: of the best evaluation. `notes`: sentences
    that say what is missing and why.
    """

    name: str
    place: str
    config: RunConfig
    result: dict[str, Any]
    scores: dict[str, float]
    train: list[Point] = field(default_factory=list)
    dev: list[Point] = field(default_factory=list)
    tables: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def is_source(place: str) -> bool:
    """Whether a run or an export lies at `place`."""
    from multitask.export import DESCRIPTION

    return (Path(place) / DESCRIPTION).is_file() or Storage(place).exists("config.yaml")


def open_source(place: str) -> Source:
    """The run or export at `place`.

    Raises:
        UserError: it is neither.
    """
    from multitask.export import DESCRIPTION

    if (Path(place) / DESCRIPTION).is_file():
        return _of_export(place)
    if Storage(place).exists("config.yaml"):
        return _of_run(place)
    raise UserError(f"{place} is neither a run folder (with config.yaml) nor an export (with {DESCRIPTION})")


def _of_run(place: str) -> Source:
    folder = RunFolder(Storage(place))
    config = folder.config()
    result, history = folder.result() or {}, folder.read_json(FILE) or {}
    notes = []
    if not result:
        notes.append("This run has not been evaluated yet: there are no scores and no errors to show.")
    if not history.get("train"):
        notes.append("No record of the training steps is kept here, so there are no curves of the training.")
    if result.get("error"):
        notes.append(f"This run failed: {result['error']}")
    notes += result.get("notes", [])
    return Source(
        name=config.name,
        place=place,
        config=config,
        result=result,
        scores=folder.best_scores(),
        train=history.get("train", []),
        dev=history.get("dev") or result.get("history", []),
        tables=folder.read_json("best_tables.json") or {},
        notes=tuple(notes),
    )


def _of_export(place: str) -> Source:
    """An export has no history; its errors are worked out anew where its dev rows can be found."""
    from multitask.evaluation import error_tables
    from multitask.export import load_export

    predictor = load_export(Path(place))
    notes = ["This is an exported model: the curves of its training are in its run folder."]
    tables: dict[str, Any] = {}
    for task in (own for own in predictor.config.scored_tasks if own in predictor.tasks):
        try:
            table, evaluation = predictor.evaluate(task, "dev")
            tables |= error_tables(task, predictor.config.tasks[task], table, evaluation)
        except UserError as error:
            notes.append(
                f"No errors of {task} are shown, since its dev rows cannot be read: {str(error).splitlines()[0]}"
            )
    return Source(
        name=predictor.config.name,
        place=place,
        config=predictor.config,
        result={},
        scores=predictor.scores,
        tables=tables,
        notes=tuple(notes),
    )
