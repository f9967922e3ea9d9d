"""`concord sweep status | list | stop | spaces`."""

import time
from typing import Annotated

import typer

from cluster.terminal.json_output import print_json
from multitask.errors import UserError

Json = Annotated[bool, typer.Option("--json", help="JSON for programs.")]
Runs = Annotated[str, typer.Option("--storage", help="Folder or URI in which sweeps lie.")]
Name = Annotated[str, typer.Argument(help="A sweep's name, or its folder.", metavar="NAME")]


def status(
    name: Name,
    watch: Annotated[bool, typer.Option("--watch", help="Until the sweep ends, or Ctrl-C.")] = False,
    storage: Runs = "runs",
    json: Json = False,
) -> None:
    """Show a sweep: its best trials, those that run, and failures."""
    from rich.console import Console
    from rich.live import Live

    from cluster.sweeps.status import current_sweep, describe_status
    from cluster.sweeps.store import SweepStore
    from cluster.terminal.sweep_display import sweep_view

    store = SweepStore.find(name, storage)
    if json:
        print_json(describe_status(store))
        return
    console = Console()
    if not watch:
        console.print(sweep_view(current_sweep(store), limit=1000))
        return
    with Live(console=console, refresh_per_second=2) as live:
        while True:
            now = current_sweep(store)
            live.update(sweep_view(now))
            if now.status != "running":
                return
            time.sleep(1)


def list_sweeps(storage: Runs = "runs", json: Json = False) -> None:
    """List the sweeps of a storage."""
    from rich.console import Console
    from rich.table import Table

    from cluster.sweeps.status import describe_status
    from cluster.sweeps.store import SweepStore

    found = [describe_status(store) for store in SweepStore.all_in(storage)]
    if json:
        print_json({"sweeps": found})
        return
    table = Table("sweep", "space", "search", "state", "trials", "best", box=None, padding=(0, 2, 0, 0))
    table.columns[0].no_wrap = True
    for own in found:
        best = "" if own["best_score"] is None else f"{own['best_score']:.3f}"
        table.add_row(own["name"], own["space"], own["search"], own["status"], own["progress"], best)
    Console().print(table if found else f"no sweeps in {storage}")


def stop(name: Name, storage: Runs = "runs") -> None:
    """Ask a running sweep to end; `resume` goes on with it."""
    from cluster.sweeps.status import current_sweep
    from cluster.sweeps.store import STOP, SweepStore

    store = SweepStore.find(name, storage)
    now = current_sweep(store)
    if now.status != "running":
        raise UserError(f"sweep {now.name} is not running, it is {now.status}")
    store.storage.write(STOP, b"")
    print(f"sweep {now.name} ends its trials within seconds; concord sweep resume {now.name} goes on")


def spaces() -> None:
    """List the spaces that concord ships, and the questions that they answer."""
    from rich.console import Console
    from rich.table import Table

    from tune_spaces import shipped_spaces

    table = Table("space", "what it answers", box=None, padding=(0, 2, 0, 0))
    for own, about in shipped_spaces().items():
        table.add_row(own, about)
    Console().print(table)
