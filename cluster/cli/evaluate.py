"""`concord evaluate`."""

from typing import Annotated

import typer

from cluster.terminal.json_output import print_json


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
    from cluster.api.model_scores import evaluate_model

    found = evaluate_model(model, overrides or [], split=split, tasks=task)
    if json:
        print_json(found.to_dict())
        return
    from rich.console import Console

    from cluster.terminal.scores_display import scores_table

    Console().print(scores_table(found.scores, found.split, found.reported))
