"""`concord report`."""

from typing import Annotated

import typer

from cluster.terminal.json_output import print_json


def report(
    runs: Annotated[
        list[str],
        typer.Argument(
            help="Run folders, their URIs, or exports; several are compared. Or one sweep: its name or folder.",
            metavar="RUN|EXPORT|SWEEP...",
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="File to write; report.html in the run's or sweep's folder (the working folder for several) if not given.",
            metavar="FILE",
        ),
    ] = None,
    storage: Annotated[
        str, typer.Option("--storage", help="Folder or URI that sweeps are looked up in by name.", metavar="DIR")
    ] = "runs",
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Write one HTML file that shows what RUN learned, what it gets wrong, and what it cost; of a SWEEP, what is best and why."""
    from cluster.report import write_report

    path = write_report(runs, output, storage)
    if json:
        print_json({"report": str(path)})
    else:
        print(f"report written to {path}")
