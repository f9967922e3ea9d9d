"""`concord best`."""

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster.terminal.json_output import print_json
from multitask.errors import UserError

if TYPE_CHECKING:
    from cluster.analysis.ranking import Ranking
    from cluster.analysis.refit import RefitPlan
    from cluster.sweeps.records import Sweep
    from cluster.sweeps.store import SweepStore

SEEDS = 3

_Name = Annotated[str, typer.Argument(help="A sweep's name, folder or URI.", metavar="NAME")]
_Overrides = Annotated[
    list[str] | None, typer.Argument(help="With --refit: changes of the config.", metavar="[KEY=VALUE]...")
]
_By = Annotated[
    str, typer.Option("--by", help="A dev score, or weighted, course, worst, knee or no-worse.", metavar="RULE")
]
_Weight = Annotated[
    list[str] | None, typer.Option("--weight", help="For weighted; 1 if not given.", metavar="TASK=NUMBER")
]
_Baseline = Annotated[
    list[str] | None, typer.Option("--baseline", help="A task's score without the others.", metavar="TASK=SCORE")
]
_Margin = Annotated[
    float | None, typer.Option("--margin", help="For no-worse: how far below its baseline a task may be.")
]
_Storage = Annotated[str, typer.Option("--storage", help="Where sweeps lie.")]
_Export = Annotated[str | None, typer.Option("--export", help="Export the winner's best checkpoint.", metavar="DIR")]
_Refit = Annotated[bool, typer.Option("--refit", help="Train the winner's config again.")]
_Seeds = Annotated[int | None, typer.Option("--seeds", help=f"With --refit: other seeds; {SEEDS} if not given.")]
_EpochsFactor = Annotated[float | None, typer.Option("--epochs-factor", help="With --refit: so many times the epochs.")]
_NoRay = Annotated[bool, typer.Option("--no-ray", help="With --refit: one plain process.")]
_Json = Annotated[bool, typer.Option("--json", help="Print a JSON object.")]


def best(
    name: _Name,
    overrides: _Overrides = None,
    by: _By = "dev/mean",
    weight: _Weight = None,
    baseline: _Baseline = None,
    margin: _Margin = None,
    storage: _Storage = "runs",
    export: _Export = None,
    refit: _Refit = False,
    seeds: _Seeds = None,
    epochs_factor: _EpochsFactor = None,
    no_ray: _NoRay = False,
    json: _Json = False,
) -> None:
    """Say which trial of the sweep NAME is the best, how sure that is, and what to try next."""
    from cluster.analysis.ranking import rank
    from cluster.sweeps.store import SweepStore

    _check_refit_options(refit, overrides, seeds, epochs_factor, no_ray, export)
    store = SweepStore.find(name, storage)
    sweep = store.read()
    _leave_if_nothing_succeeded(sweep, json)
    question: dict[str, Any] = {"by": by, "margin": margin}
    question |= {"weights": _numbers("--weight", weight), "baselines": _numbers("--baseline", baseline)}
    ranking = rank(sweep, **question)
    if export is not None:
        _export(store, ranking, export, json)
    elif refit:
        from cluster.analysis.refit import plan_refits

        wanted = (SEEDS if seeds is None else seeds, 1.0 if epochs_factor is None else epochs_factor)
        plans = plan_refits(store, ranking, *wanted, overrides or ())
        _refit(store, plans, no_ray, json)
        _show_refits(rank(store.read(), **question), plans, json)
    else:
        _show(ranking, json)


def _check_refit_options(
    refit: bool, overrides: list[str] | None, seeds: int | None, factor: float | None, no_ray: bool, export: str | None
) -> None:
    if refit and export is not None:
        raise UserError("--export and --refit: give one of them; --export takes the refits into account")
    given = {"KEY=VALUE": overrides, "--seeds": seeds, "--epochs-factor": factor, "--no-ray": no_ray}
    for option, value in given.items():
        if value not in (None, False, []) and not refit:
            raise UserError(f"{option} is for --refit")


def _numbers(option: str, given: list[str] | None) -> dict[str, float]:
    """TASK=NUMBER texts as numbers."""
    found = {}
    for text in given or ():
        task, _, number = text.partition("=")
        try:
            found[task] = float(number)
            if not math.isfinite(found[task]):
                raise ValueError
        except ValueError:
            raise UserError(f"{option} is TASK=NUMBER, got {text!r}") from None
    return found


def _leave_if_nothing_succeeded(sweep: "Sweep", json: bool) -> None:
    """Print why trials failed and end with exit code 1, where none has a score and some have failed."""
    from rich.console import Console

    from cluster.analysis.configurations import configurations
    from cluster.analysis.failures import grouped_failures
    from cluster.terminal.best_display import show_failures

    failures = grouped_failures(sweep.trials)
    if configurations(sweep) or not failures:
        return
    message = f"{sweep.name}: no trial has a score"
    if json:
        print_json({"error": message, "failures": [{"reason": reason, "runs": runs} for reason, runs in failures]})
    else:
        print(message)
        show_failures(failures, Console())
    raise typer.Exit(1)


def _show(ranking: "Ranking", json: bool) -> None:
    from rich.console import Console

    from cluster.analysis.summary import summarise
    from cluster.terminal.best_display import show_summary

    choice = summarise(ranking)
    if json:
        print_json(choice.to_dict())
    else:
        show_summary(choice, Console())


def _export(store: "SweepStore", ranking: "Ranking", target: str, json: bool) -> None:
    from cluster.analysis.winner_checkpoints import export_winner

    run, place = export_winner(store, ranking, target)
    if json:
        print_json({"run": run, "export": place})
    else:
        print(f"exported the best checkpoint of {run} to {place}")


def _refit(store: "SweepStore", plans: "Sequence[RefitPlan]", no_ray: bool, json: bool) -> None:
    from cluster.analysis.refit import run_refit
    from cluster.launch.launch import train_here, train_on_ray
    from cluster.terminal.run_display import Display
    from cluster.tracking.tracker import trackers

    train = train_here if no_ray else train_on_ray
    for plan in plans:
        run_refit(
            store,
            plan,
            Display(json=json),
            lambda config, observer: train(config, trackers(config), observer, time.time()),
        )


def _show_refits(ranking: "Ranking", plans: "Sequence[RefitPlan]", json: bool) -> None:
    """The refits beside the recipe; exit code 1 where one has failed."""
    from rich.console import Console

    from cluster.analysis.failures import grouped_failures
    from cluster.analysis.refit import refitted
    from cluster.terminal.best_display import show_refit

    runs = [plan.trial.run for plan in plans]
    failures = grouped_failures(trial for trial in ranking.sweep.trials if trial.run in runs)
    refit = refitted(ranking, plans)
    if json:
        from cluster.analysis.summary import describe_configuration

        recipe = ranking.judge(ranking.recipe) if ranking.recipe else None
        values = {
            "refit": describe_configuration(ranking, refit) if refit else None,
            "recipe": describe_configuration(ranking, recipe) if recipe else None,
        }
        print_json({"by": ranking.rule.name, **values, "failures": [{"reason": r, "runs": own} for r, own in failures]})
    else:
        show_refit(refit, ranking, failures, Console())
    if failures:
        raise typer.Exit(1)
