"""`concord export`."""

from typing import Annotated

import typer

from cluster.terminal.json_output import print_json


def export(
    run: Annotated[str, typer.Argument(help="A run folder or its URI.", metavar="RUN")],
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="Folder to write; RUN/export if not given.")
    ] = None,
    checkpoint: Annotated[str, typer.Option("--checkpoint", help="best, last, or a step.")] = "best",
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Write a checkpoint of RUN as a folder that transformers and multitask.load open."""
    from cluster.storage.export_checkpoint import export_run

    place = export_run(run, output, checkpoint)
    if json:
        print_json({"export": place})
    else:
        print(f"exported to {place}")
