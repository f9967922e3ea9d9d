"""`concord evaluate`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster.terminal.json_output import print_json
from multitask.errors import UserError

if TYPE_CHECKING:
    from multitask.config import RunConfig
    from multitask.export import Predictor


def evaluate(
    model: Annotated[
        str, typer.Argument(help="An export, or a run folder (its best checkpoint).", metavar="EXPORT|RUN")
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Where the data lies now, such as data.root=…", metavar="[KEY=VALUE]...")
    ] = None,
    split: Annotated[str, typer.Option("--split", help="dev, test or train.")] = "dev",
    task: Annotated[list[str] | None, typer.Option("--task", help="Only this task; may be repeated.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Score a model on a split of its tasks."""
    import numpy as np

    from cluster.api.models import open_model
    from multitask.config import SPLITS, override_config
    from multitask.evaluation import task_scores

    if split not in SPLITS:
        raise UserError(f"--split must be one of {', '.join(SPLITS)}, got {split!r}")
    with open_model(model) as predictor:
        config = override_config(predictor.config, overrides or [])
        tasks = _tasks(predictor, config, split, task)
        scores = {}
        for name in tasks:
            table, found = predictor.evaluate(name, split, config)
            labels = np.asarray(table.labels)
            if np.isnan(labels).any():
                raise UserError(
                    f"--split {split}: {name} has rows without a label there; use concord predict --split {split}"
                )
            scores[name] = task_scores(config.tasks[name], found.predictions, labels)
        reported = predictor.scores if split == "dev" else {}
    if json:
        print_json({"split": split, "scores": scores, "reported": reported})
    else:
        _show(scores, split, reported)


def _tasks(predictor: "Predictor", config: "RunConfig", split: str, wanted: list[str] | None) -> list[str]:
    for name in wanted or ():
        if name not in predictor.tasks:
            raise UserError(f"--task: the model has no task {name!r}; tasks: {', '.join(predictor.tasks)}")
    found = [name for name in wanted or predictor.tasks if config.tasks[name].files.get(split)]  # type: ignore[call-overload]
    if not found:
        raise UserError(f"--split {split}: no task has files for it")
    return found


def _show(scores: dict[str, dict[str, float]], split: str, reported: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("task", "metric")
    table.add_column(split, justify="right")
    if reported:
        table.add_column("in training", justify="right")
    for task, own in scores.items():
        for number, (metric, value) in enumerate(own.items()):
            before = reported.get(f"dev/{task}/{metric}")
            cells = [task if number == 0 else "", metric, f"{value:.4f}"]
            table.add_row(*cells, *(["" if before is None else f"{before:.4f}"] if reported else []))
    Console().print(table)
