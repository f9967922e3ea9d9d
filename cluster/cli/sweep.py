"""`concord sweep`: begin a sweep and go on with one."""

from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

import cluster.cli.sweep_options as option
from cluster.cli.arguments import Recipe
from cluster.cli.sweep_options import read_sample
from cluster.cli.sweep_state import list_sweeps, spaces, status, stop
from cluster.cli.sweep_study import enqueue, export_study, trials_table
from cluster.terminal.json_output import print_json

if TYPE_CHECKING:
    from cluster.api.sweep_result import SweepResult


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
    recipe: Recipe,
    changes: option.Changes = None,
    space: option.Space = "default",
    name: option.NewName = None,
    trials: option.Trials = None,
    search: option.Search = "random",
    scheduler: option.Scheduler = "fifo",
    metric: option.Metric = None,
    repeats: option.Repeats = 1,
    baselines: option.Baselines = False,
    budget: option.Budget = None,
    budget_tokens: option.BudgetTokens = None,
    trial_budget: option.TrialBudget = None,
    workers_per_trial: option.Workers = None,
    concurrent: option.Concurrent = None,
    evaluations: option.Evaluations = 9,
    grace: option.Grace = 1,
    reduction: option.Reduction = 3,
    seed: option.Seed = 0,
    keep: option.Keep = 5,
    storage: option.NewRuns = None,
    resume_old: option.Resume = False,
    new: option.New = False,
    dry_run: option.DryRun = False,
    json: option.Json = False,
) -> None:
    """Search a space around RECIPE, the recipe itself being trial 0. The same command again goes on."""
    asked: dict[str, Any] = {"space": space, "name": name, "trials": trials, "search": search, "scheduler": scheduler}
    asked |= {"metrics": metric or None, "repeats": repeats, "baselines": baselines, "seed": seed, "keep": keep}
    asked |= {"budget": budget or None, "budget_tokens": budget_tokens or None, "concurrent": concurrent}
    asked |= {"workers_per_trial": workers_per_trial, "evaluations": evaluations, "grace": grace}
    asked |= {"reduction": reduction, "trial_budget": trial_budget or None}
    if dry_run:
        _show_plan(recipe, changes or [], asked, json)
        return
    from cluster.api.begin_sweep import sweep as begin

    place: dict[str, Any] = {"storage": storage, "resume": resume_old, "new": new, "show": "json" if json else True}
    _conclude(begin(recipe, changes or [], **place, **asked), json)


@sweep.command()
def resume(
    name: option.Name,
    tries: option.Try = None,
    trials: option.MoreTrials = None,
    budget: option.NewBudget = None,
    budget_tokens: option.NewBudgetTokens = None,
    trial_budget: option.NewTrialBudget = None,
    concurrent: option.NewConcurrent = None,
    storage: option.Runs = "runs",
    json: option.Json = False,
) -> None:
    """Go on with a sweep, after whatever ended it. Finished trials stay as they are, others go on from their checkpoints."""
    from cluster.api.sweep_result import load_sweep

    bounds: dict[str, Any] = {"trials": trials, "budget": budget or None, "budget_tokens": budget_tokens or None}
    bounds |= {"trial_budget": trial_budget or None, "concurrent": concurrent}
    show: Any = "json" if json else True
    bounds["tries"] = [read_sample(text) for text in tries or ()]
    _conclude(load_sweep(name, storage).resume(**bounds, show=show), json)


sweep.command()(status)
sweep.command("list")(list_sweeps)
sweep.command()(stop)
sweep.command()(spaces)
sweep.command("trials")(trials_table)
sweep.command()(enqueue)
sweep.command("export-study")(export_study)


def _show_plan(recipe: str, changes: list[str], asked: dict[str, Any], json: bool) -> None:
    from rich.console import Console

    from cluster.api.begin_sweep import plan_sweep
    from cluster.terminal.sweep_plan_display import show_sweep_plan

    plan = plan_sweep(recipe, changes, **asked)
    if json:
        print_json(plan.to_dict())
    else:
        show_sweep_plan(plan, Console())


def _conclude(result: "SweepResult", json: bool) -> None:
    """Print how it stands. Exit code 1 where no trial succeeded or the cluster ended some, 130 where Ctrl-C ended it."""
    from rich.console import Console

    from cluster.sweeps.sweep_place import sweep_argument
    from cluster.terminal.sweep_display import sweep_view

    name = sweep_argument(result.sweep)
    if json:
        print_json({"event": "sweep", **result.to_dict()})
    else:
        Console().print(sweep_view(result.sweep))
        if result.reason:
            print(f"{result.reason}; concord sweep resume {name} goes on")
        else:
            print(f"concord best {name}    concord report {name}")
    ended = [trial for trial in result.sweep.trials if trial.has_ended]
    broken = result.reason is not None and any(trial.cause == "cluster" for trial in result.sweep.trials)
    if broken or (ended and not any(trial.reports for trial in ended)):
        raise typer.Exit(1)
    if result.reason == "interrupted":
        raise typer.Exit(130)
