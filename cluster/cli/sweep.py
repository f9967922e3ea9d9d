"""`concord sweep`: begin a sweep and go on with one."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from cluster.cli.durations import read_amount, read_duration
from cluster.cli.sweep_state import Json, Name, Runs, list_sweeps, spaces, status, stop
from cluster.terminal.json_output import print_json

if TYPE_CHECKING:
    from cluster.sweeps.create import OpenedSweep
    from cluster.sweeps.search import Search
    from cluster.sweeps.store import SweepStore


class _RunUnlessNamed(TyperGroup):
    """`concord sweep RECIPE` is `concord sweep run RECIPE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["run", *args]
        return super().parse_args(ctx, args)


sweep = typer.Typer(
    cls=_RunUnlessNamed,
    help="Search learning rate, dropout, sampling and combination: concord sweep RECIPE --space default --trials 20.",
    no_args_is_help=True,
)


@sweep.command()
def run(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of a shipped one.", metavar="RECIPE")],
    changes: Annotated[
        list[str] | None,
        typer.Argument(help="Changes of the recipe; one that names a parameter fixes it.", metavar="[KEY=VALUE]..."),
    ] = None,
    space: Annotated[str, typer.Option(help="A shipped space, FILE.yaml, or package.module:function.")] = "default",
    name: Annotated[str | None, typer.Option(help="The sweep's name; recipe and space if not given.")] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Configurations, the recipe among them; 20, or the grid.")
    ] = None,
    search: Annotated[str, typer.Option(help="random, grid, optuna or nsga2.")] = "random",
    scheduler: Annotated[str, typer.Option(help="fifo, asha, median or pbt.")] = "fifo",
    metric: Annotated[
        list[str] | None, typer.Option(help="Score to maximise; several ask for their Pareto front.")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Trials of each configuration, with other seeds.")] = 1,
    baselines: Annotated[bool, typer.Option("--baselines", help="Also train every task alone.")] = False,
    budget: Annotated[str | None, typer.Option(help="Time for the sweep as a whole: 2h, 90m.")] = None,
    budget_tokens: Annotated[str | None, typer.Option(help="Tokens for the sweep as a whole: 5M.")] = None,
    workers_per_trial: Annotated[
        int | None, typer.Option(min=1, help="The recipe's cluster.workers if not given.")
    ] = None,
    concurrent: Annotated[
        int | None, typer.Option(min=1, help="Trials at a time; as many as fit if not given.")
    ] = None,
    evaluations: Annotated[int, typer.Option(min=1, help="Evaluations of a trial as long as the recipe.")] = 9,
    grace: Annotated[int, typer.Option(min=1, help="Evaluations before a trial may be stopped or changed.")] = 1,
    reduction: Annotated[int, typer.Option(min=2, help="asha: of so many trials one goes on.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the search.")] = 0,
    keep: Annotated[int, typer.Option(min=1, help="Trials whose checkpoints are kept.")] = 5,
    storage: Runs = "runs",
    resume_old: Annotated[
        bool, typer.Option("--resume", help="Go on with the sweep of this name as it was planned.")
    ] = False,
    new: Annotated[bool, typer.Option("--new", help="Begin another sweep under the next free name.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print trials, resources and time; train nothing.")
    ] = False,
    json: Json = False,
) -> None:
    """Search a space around RECIPE, the recipe itself being trial 0. The same command again goes on."""
    from cluster.sweeps.create import open_sweep
    from cluster.sweeps.records import Options
    from cluster.sweeps.search import open_search

    workers = [f"cluster.workers={workers_per_trial}"] if workers_per_trial else []
    found = open_search(recipe, [*(changes or []), *workers], space)
    options = Options(
        trials=trials or _number_of_trials(found, search),
        search=search,
        scheduler=scheduler,
        metrics=tuple(metric or ["dev/mean"]),
        repeats=repeats,
        baselines=baselines,
        seed=seed,
        evaluations=evaluations,
        grace=grace,
        reduction=reduction,
        concurrent=concurrent,
        budget_seconds=read_duration("--budget", budget) if budget else None,
        budget_tokens=read_amount("--budget-tokens", budget_tokens) if budget_tokens else None,
        keep=keep,
    )
    if dry_run:
        from cluster.cli.sweep_dry_run import describe_sweep

        describe_sweep(found, options, name or default_name(found), json=json)
        return
    _run(open_sweep(found, options, name or default_name(found), storage, resume=resume_old, new=new), json)


@sweep.command()
def resume(
    name: Name,
    trials: Annotated[int | None, typer.Option(min=1, help="Configurations from now on.")] = None,
    budget: Annotated[str | None, typer.Option(help="Time for the sweep as a whole from now on: 4h.")] = None,
    budget_tokens: Annotated[str | None, typer.Option(help="Tokens for the sweep as a whole from now on.")] = None,
    concurrent: Annotated[int | None, typer.Option(min=1, help="Trials at a time.")] = None,
    storage: Runs = "runs",
    json: Json = False,
) -> None:
    """Go on with a sweep, after whatever ended it. Finished trials stay as they are, others go on from their checkpoints."""
    from cluster.sweeps.create import reopen_sweep

    opened = reopen_sweep(
        name,
        storage,
        trials=trials,
        budget_seconds=read_duration("--budget", budget) if budget else None,
        budget_tokens=read_amount("--budget-tokens", budget_tokens) if budget_tokens else None,
        concurrent=concurrent,
    )
    _run(opened, json)


sweep.command()(status)
sweep.command("list")(list_sweeps)
sweep.command()(stop)
sweep.command()(spaces)


def default_name(found: "Search") -> str:
    """Recipe and space."""
    return f"{found.base.name}-{found.space.name}"


def _number_of_trials(found: "Search", search: str) -> int:
    from cluster.sweeps.samplers import grid_samples

    return 1 + len(found.space.first) + len(grid_samples(found.space)) if search == "grid" else 20


def _run(opened: "OpenedSweep", json: bool) -> None:
    from cluster.sweeps.run_sweep import run_sweep
    from cluster.terminal.sweep_display import SweepDisplay
    from cluster.tracking.tracker import trackers

    display = SweepDisplay(json=json)
    try:
        reason = run_sweep(opened, display, trackers)
    finally:
        display.close()
    _conclude(opened.store, reason, json)


def _conclude(store: "SweepStore", reason: str | None, json: bool) -> None:
    """Print how it stands. Exit code 1 where no trial succeeded, 130 where Ctrl-C ended it."""
    from rich.console import Console

    from cluster.sweeps.status import current_sweep, describe_status
    from cluster.terminal.sweep_display import sweep_view

    now = current_sweep(store)
    if json:
        print_json({"event": "sweep", **describe_status(store)})
    else:
        Console().print(sweep_view(now))
        if reason:
            print(f"{reason}; concord sweep resume {now.name} goes on")
        else:
            print(f"concord best {now.name}    concord report {now.name}")
    ended: list[Any] = [trial for trial in now.trials if trial.has_ended]
    if ended and not any(trial.reports for trial in ended):
        raise typer.Exit(1)
    if reason == "interrupted":
        raise typer.Exit(130)
