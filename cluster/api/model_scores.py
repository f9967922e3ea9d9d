"""The scores of a model on a split of its tasks."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cluster.api.models import open_model
from multitask.config import Overrides, RunConfig, override_config
from multitask.config.files import is_split
from multitask.errors import UserError
from multitask.evaluation import task_scores

if TYPE_CHECKING:
    from multitask.export import Predictor


@dataclass(frozen=True)
class ModelScores:
    """`scores`: task to metric to score on `split`. `reported`: for dev, the scores that training reported."""

    split: str
    scores: dict[str, dict[str, float]]
    reported: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def evaluate_model(
    model: str, overrides: Overrides = (), *, split: str = "dev", tasks: Sequence[str] | None = None
) -> ModelScores:
    """Score the export `model`, or a run's best checkpoint, on `split` of `tasks`, or of all that have files for it.

    `overrides` say where the data lies now.

    Raises:
        UserError: there is no such model, split or task, or rows without a label.
    """
    if not is_split(split):
        raise UserError(f"--split must be train, dev, dev_NAME or test, got {split!r}")
    with open_model(model) as predictor:
        config = override_config(predictor.config, overrides)
        wanted = _with_files(predictor, config, split, tasks)
        scores = {task: _scores(predictor, config, task, split) for task in wanted}
        return ModelScores(split, scores, predictor.scores if split == "dev" else {})


def _with_files(predictor: "Predictor", config: RunConfig, split: str, wanted: Sequence[str] | None) -> list[str]:
    for name in wanted or ():
        if name not in predictor.tasks:
            raise UserError(f"--task: the model has no task {name!r}; tasks: {', '.join(predictor.tasks)}")
    found = [name for name in wanted or predictor.tasks if config.tasks[name].files.get(split)]
    if not found:
        raise UserError(f"--split {split}: no task has files for it")
    return found


def _scores(predictor: "Predictor", config: RunConfig, task: str, split: str) -> dict[str, float]:
    table, found = predictor.evaluate(task, split, config)
    labels = np.asarray(table.labels)
    if np.isnan(labels).any():
        raise UserError(f"--split {split}: {task} has rows without a label there; use concord predict --split {split}")
    return task_scores(config.tasks[task], found, labels)
