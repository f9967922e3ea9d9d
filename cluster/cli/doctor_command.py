"""`concord doctor`."""

from typing import Annotated

import typer

from cluster.cli.sweep_options import Json, Runs
from cluster.terminal.json_output import print_json


def doctor(
    name: Annotated[str, typer.Argument(help="A run or a sweep: its name, folder or URI.", metavar="RUN|SWEEP")],
    fix: Annotated[bool, typer.Option("--fix", help="Mend what can be; without it nothing is changed.")] = False,
    storage: Runs = "runs",
    json: Json = False,
) -> None:
    """Say what is wrong with a folder, and what to do about it. Exit code 1 where something is and was not mended.

    Nothing that a resume needs is ever removed.
    """
    from cluster.api.doctor import examine
    from cluster.terminal.doctor_display import show_findings

    found = examine(name, storage, fix=fix)
    if json:
        listed = [
            {
                "path": f.path,
                "problem": f.problem,
                "advice": f.advice,
                "mended": f in found.mended,
                "mends": bool(f.mend),
            }
            for f in found.findings
        ]
        print_json({"place": found.place, "kind": found.kind, "busy": found.busy, "findings": listed})
    else:
        show_findings(found.place, found.kind, found.busy, found.findings, found.mended)
    if found.left:
        raise typer.Exit(1)
