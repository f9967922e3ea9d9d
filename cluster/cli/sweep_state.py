"""`concord sweep status | list | stop | spaces`."""

from typing import TYPE_CHECKING, Annotated

import typer

from cluster.cli.sweep_options import Json, Name, Runs
from cluster.terminal.json_output import print_json
from multitask.errors import UserError

if TYPE_CHECKING:
    from cluster.api.sweep_result import SweepResult


def status(
    name: Name,
    trial: Annotated[
        str | None, typer.Argument(help="One of its trials, as 004: all about it.", metavar="[TRIAL]")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Until the sweep ends, or Ctrl-C.")] = False,
    storage: Runs = "runs",
    json: Json = False,
) -> None:
    """Show a sweep: its best trials, those that run, and failures. Of one TRIAL its evaluations, and what it failed with."""
    from rich.console import Console

    from cluster.api.sweep_result import load_sweep
    from cluster.terminal.sweep_display import sweep_view, watch_sweep

    if trial is not None and watch:
        raise UserError("--watch shows a sweep, not one trial of it: leave one of them out")
    found = load_sweep(name, storage)
    if trial is not None:
        _show_trial(found, trial, json)
    elif json:
        print_json(found.to_dict())
    elif watch:
        watch_sweep(lambda: load_sweep(found.folder).sweep, Console())
    else:
        Console().print(sweep_view(found.sweep, limit=1000))


def _show_trial(found: "SweepResult", name: str, json: bool) -> None:
    from rich.console import Console

    from cluster.terminal.trial_display import show_trial

    trial, traceback = found.trial(name), found.traceback(name)
    if json:
        print_json({**trial.to_dict(), "traceback": traceback})
    else:
        show_trial(found.sweep, trial, found.store.run(trial.current_run).location, traceback, Console())


def list_sweeps(storage: Runs = "runs", json: Json = False) -> None:
    """List the sweeps of a storage."""
    from rich.console import Console

    from cluster.api.sweep_result import list_sweeps as list_all
    from cluster.terminal.sweep_display import sweep_list

    found = [own.to_dict() for own in list_all(storage)]
    if json:
        print_json({"sweeps": found})
    else:
        Console().print(sweep_list(found) if found else f"no sweeps in {storage}")


def stop(name: Name, storage: Runs = "runs") -> None:
    """Ask a running sweep to end; `resume` goes on with it."""
    from cluster.api.sweep_result import load_sweep
    from cluster.sweeps.sweep_place import sweep_argument

    found = load_sweep(name, storage)
    found.stop()
    name = sweep_argument(found.sweep)
    print(f"sweep {found.name} ends its trials within seconds; concord sweep resume {name} goes on")


def spaces() -> None:
    """List the spaces that concord ships, and the questions that they answer."""
    from rich.console import Console

    from cluster.terminal.sweep_display import space_list
    from tune_spaces import shipped_spaces

    Console().print(space_list(shipped_spaces()))
