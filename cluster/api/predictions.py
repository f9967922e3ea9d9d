"""Predictions of a model as plain values, and in the layout that the course wants."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from multitask.config.kind import MultiLabel, class_names, label_places
from multitask.errors import UserError
from multitask.label_sets import set_members

if TYPE_CHECKING:
    from multitask.export import Predictor

# The course's submission files: the header's second column by the label's column name, written as its code writes it.
_SUBMISSION = {
    "sentiment": "Predicted_Sentiment",
    "is_duplicate": "Predicted_Is_Paraphrase",
    "similarity": "Predicted_Similiary",
}


def predict_texts(predictor: "Predictor", task: str, rows: Sequence[Any]) -> dict[str, Any]:
    """`texts` (or pairs of them), `predictions`, and where the task has classes `probabilities` and their `labels`."""
    names = class_names(predictor.config.tasks[task].kind)
    predictions: list[Any] = list(predictor.predict(task, rows))
    found: dict[str, Any] = {"task": task, "texts": list(rows), "predictions": predictions}
    if names:
        chances = predictor.predict(task, rows, probabilities=True)
        several = [value if isinstance(value, list) else [value] for value in predictions]
        numbers = [[names.index(name) for name in own] for own in several]
        found["predictions"] = numbers if _has_sets(predictor, task) else [own for [own] in numbers]
        found["probabilities"] = [list(own.values()) for own in chances]
    return _labelled(predictor, found)


def predict_split(predictor: "Predictor", task: str, split: str) -> dict[str, Any]:
    """`ids` and `predictions` of a split of the task's own files, and `labels` where its classes have names.

    Raises:
        UserError: the task has no files for it.
    """
    if not predictor.config.tasks[task].files.get(split):
        raise UserError(f"--split: task {task} has no files for {split!r}")
    table, evaluation = predictor.evaluate(task, split)
    values = evaluation.predictions.tolist()
    if _has_sets(predictor, task):
        values = [set_members(value) for value in values]
    elif predictor.config.tasks[task].kind.classes:
        values = [int(value) for value in values]
    return _labelled(predictor, {"task": task, "ids": table.ids(list(range(table.rows))), "predictions": values})


def submission_lines(predictor: "Predictor", found: dict[str, Any]) -> list[str]:
    """What `predict_split` found as the lines of a CS224N submission file."""
    column = str(predictor.config.tasks[found["task"]].columns.label)
    header = _SUBMISSION.get(column, f"Predicted_{column.title()}")
    return [f"id \t {header} ", *(f"{i} , {v} " for i, v in zip(found["ids"], found["predictions"], strict=True))]


def _labelled(predictor: "Predictor", found: dict[str, Any]) -> dict[str, Any]:
    kind = predictor.config.tasks[found["task"]].kind
    names = class_names(kind) if label_places(kind) else ()
    if not names:
        return found
    if isinstance(kind, MultiLabel):
        return found | {"labels": [[names[k] for k in own] for own in found["predictions"]]}
    return found | {"labels": [names[value] for value in found["predictions"]]}


def _has_sets(predictor: "Predictor", task: str) -> bool:
    """Whether a prediction is a list of classes."""
    return isinstance(predictor.config.tasks[task].kind, MultiLabel)
