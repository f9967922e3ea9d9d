"""`concord sweep status | list | stop | spaces`."""

from typing import Annotated

import typer

from cluster.cli.sweep_options import Json, Name, Runs
from cluster.terminal.json_output import print_json


def status(
    name: Name,
    watch: Annotated[bool, typer.Option("--watch", help="Until the sweep ends, or Ctrl-C.")] = False,
    storage: Runs = "runs",
    json: Json = False,
) -> None:
    """Show a sweep: its best trials, those that run, and failures."""
    from rich.console import Console

    from cluster.api.sweep_result import load_sweep
    from cluster.terminal.sweep_display import sweep_view, watch_sweep

    found = load_sweep(name, storage)
    if json:
        print_json(found.to_dict())
    elif watch:
        watch_sweep(lambda: load_sweep(found.folder).sweep, Console())
    else:
        Console().print(sweep_view(found.sweep, limit=1000))


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

    found = load_sweep(name, storage)
    found.stop()
    print(f"sweep {found.name} ends its trials within seconds; concord sweep resume {found.name} goes on")


def spaces() -> None:
    """List the spaces that concord ships, and the questions that they answer."""
    from rich.console import Console

    from cluster.terminal.sweep_display import space_list
    from tune_spaces import shipped_spaces

    Console().print(space_list(shipped_spaces()))
