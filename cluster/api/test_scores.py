"""Scores of a run's best checkpoint on the labelled rows of a test split."""

import numpy as np

from cluster.api.models import open_model
from multitask.config import RunConfig
from multitask.evaluation import dev_scores, task_scores


def has_test_files(config: RunConfig) -> bool:
    """Whether some task of the mean names files for its test split."""
    return any(config.tasks[task].files.get("test") for task in config.selected_tasks)


def labelled_test_scores(run: str) -> dict[str, float]:
    """`test/<task>/<metric>` of each task whose test rows are all labelled, and `test/mean` where all of the mean's are.

    Raises:
        UserError: the run holds no checkpoint, or a file cannot be read.
    """
    scores: dict[str, dict[str, float]] = {}
    with open_model(run) as predictor:
        config = predictor.config
        for task in (name for name in predictor.tasks if config.tasks[name].files.get("test")):
            labels = np.asarray(predictor.table(task, "test").labels)
            if not np.isnan(labels).any():
                _, found = predictor.evaluate(task, "test")
                scores[task] = task_scores(config.tasks[task], found, labels)
    if all(task in scores for task in config.selected_tasks):
        return {key.replace("dev/", "test/", 1): value for key, value in dev_scores(config, scores).items()}
    return {f"test/{task}/{name}": value for task, own in scores.items() for name, value in own.items()}
