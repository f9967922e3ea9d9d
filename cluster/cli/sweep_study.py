"""`concord sweep trials | enqueue | export-study`: a sweep's trials for other programs, and points from them."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from cluster.cli.sweep_options import Json, Name, Runs
from cluster.terminal.json_output import print_json
from multitask.errors import UserError

_Output = Annotated[Path | None, typer.Option("--output", "-o", help="The file; standard output if not given.")]
_Source = Annotated[
    str, typer.Argument(help="A file *.yaml, *.json or *.csv of points, or an Optuna storage.", metavar="SOURCE")
]
_OptunaStorage = Annotated[
    str,
    typer.Argument(help="A database's URL, as sqlite:///study.db, or a journal file, as study.log.", metavar="STORAGE"),
]
_Study = Annotated[str | None, typer.Option("--study", help="The study's name; the storage's only one if not given.")]
_NewStudy = Annotated[str | None, typer.Option("--study", help="The study's name; the sweep's if not given.")]
_Replace = Annotated[bool, typer.Option("--replace", help="Write a study of that name anew.")]


def trials_table(name: Name, output: _Output = None, storage: Runs = "runs", json: Json = False) -> None:
    """Print the trials of a sweep as CSV: states, costs, the scores of their best checkpoints, and what they tried."""
    from cluster.api.sweep_result import load_sweep

    table = load_sweep(name, storage).trials
    if json:
        print_json({"trials": [row.dropna().to_dict() for _, row in table.astype(object).iterrows()]})
        return
    try:
        table.to_csv(sys.stdout if output is None else output, index=False)
    except OSError as error:
        if output is None:
            raise
        raise UserError(f"--output {output} cannot be written: {error.strerror}") from None


def enqueue(name: Name, source: _Source, study: _Study = None, storage: Runs = "runs", json: Json = False) -> None:
    """Have a sweep try points of yours when it goes on: from a file, or those enqueued in an Optuna study."""
    from cluster.api.sweep_result import load_sweep
    from cluster.sweeps.sweep_place import sweep_argument

    sweep = load_sweep(name, storage)
    taken = sweep.enqueue(source, study)
    if json:
        print_json({"enqueued": list(taken.samples), "known": taken.known})
        return
    known = f", {taken.known} known already" if taken.known else ""
    print(f"{len(taken.samples)} points enqueued{known}; concord sweep resume {sweep_argument(sweep.sweep)} tries them")


def export_study(
    name: Name,
    optuna_storage: _OptunaStorage,
    study: _NewStudy = None,
    replace: _Replace = False,
    storage: Runs = "runs",
    json: Json = False,
) -> None:
    """Write a sweep as an Optuna study, which optuna-dashboard STORAGE shows."""
    from cluster.api.sweep_result import load_sweep
    from cluster.sweeps.optuna_storage import without_password

    sweep = load_sweep(name, storage)
    trials = sweep.export_study(optuna_storage, study, replace=replace)
    shown = without_password(optuna_storage)
    if json:
        print_json({"study": study or sweep.name, "storage": shown, "trials": trials})
    else:
        print(f"{trials} trials in study {study or sweep.name}; optuna-dashboard {shown} shows it")
