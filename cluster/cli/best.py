"""`concord best`."""

import math
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster.terminal.json_output import print_json
from multitask.errors import UserError

if TYPE_CHECKING:
    from cluster.api.best_result import BestResult, NoScoreError

SEEDS = 3
# Options of other actions than --refit alone.
_ACTIONS = {"--top": ["--confirm"], "--seeds": ["--refit", "--confirm"]}

_Name = Annotated[str, typer.Argument(help="A sweep's name, folder or URI.", metavar="NAME")]
_Overrides = Annotated[
    list[str] | None, typer.Argument(help="With --refit: changes of the config.", metavar="[KEY=VALUE]...")
]
_By = Annotated[
    str | None,
    typer.Option(
        "--by",
        help="A dev score (the sweep's own if not given), or weighted, course, worst, knee or no-worse.",
        metavar="RULE",
    ),
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
_Confirm = Annotated[bool, typer.Option("--confirm", help="Train the best and the recipe with fresh seeds.")]
_Top = Annotated[int | None, typer.Option("--top", help="With --confirm: so many of the best; 3 if not given.")]
_Seeds = Annotated[
    int | None,
    typer.Option("--seeds", help=f"Fresh seeds: {SEEDS} with --refit, 5 with --confirm, if not given."),
]
_EpochsFactor = Annotated[float | None, typer.Option("--epochs-factor", help="With --refit: so many times the epochs.")]
_NoRay = Annotated[bool, typer.Option("--no-ray", help="With --refit: one plain process.")]
_Json = Annotated[bool, typer.Option("--json", help="Print a JSON object.")]


def best(
    name: _Name,
    overrides: _Overrides = None,
    by: _By = None,
    weight: _Weight = None,
    baseline: _Baseline = None,
    margin: _Margin = None,
    storage: _Storage = "runs",
    export: _Export = None,
    confirm: _Confirm = False,
    top: _Top = None,
    refit: _Refit = False,
    seeds: _Seeds = None,
    epochs_factor: _EpochsFactor = None,
    no_ray: _NoRay = False,
    json: _Json = False,
) -> None:
    """Say which trial of the sweep NAME is the best, how sure that is, and what to try next."""
    from cluster.api.best_result import NoScoreError
    from cluster.api.sweep_result import load_sweep

    own = {"KEY=VALUE": overrides, "--top": top, "--seeds": seeds, "--epochs-factor": epochs_factor, "--no-ray": no_ray}
    _check_options({"--confirm": confirm, "--refit": refit, "--export": export is not None}, own)
    sweep = load_sweep(name, storage)
    question: dict[str, Any] = {"by": by, "margin": margin}
    question |= {"weights": _numbers("--weight", weight), "baselines": _numbers("--baseline", baseline)}
    try:
        found = sweep.best(**question)
    except NoScoreError as error:
        _show_failures(error, json)
        raise typer.Exit(1) from None
    if export is not None:
        _export(found, export, json)
    elif confirm:
        _confirm(found, top, seeds, json)
    elif refit:
        settings: dict[str, Any] = {"seeds": seeds, "epochs_factor": epochs_factor, "ray": not no_ray}
        _refit(found, overrides or [], settings, json)
    else:
        _show(found, json)


def _check_options(asked: dict[str, bool], given: dict[str, Any]) -> None:
    """Refuse two actions at once, and options of an action that was not asked for."""
    actions = [action for action, is_asked in asked.items() if is_asked]
    if len(actions) > 1:
        raise UserError(
            f"{' and '.join(actions)}: give one of them; --export takes refits and the confirmation into account"
        )
    for option, value in given.items():
        own = _ACTIONS.get(option, ["--refit"])
        if value not in (None, False, []) and not set(own) & set(actions):
            raise UserError(f"{option} is for {' and '.join(own)}")


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


def _show_failures(error: "NoScoreError", json: bool) -> None:
    """Print why trials failed, where none has a score."""
    from rich.console import Console

    from cluster.terminal.best_display import show_failures

    if json:
        print_json(error.to_dict())
    else:
        print(error)
        show_failures(error.failures, Console())


def _show(found: "BestResult", json: bool) -> None:
    from rich.console import Console

    from cluster.terminal.best_display import show_summary

    if json:
        print_json(found.to_dict())
    else:
        show_summary(found.summary, Console())


def _export(found: "BestResult", target: str, json: bool) -> None:
    run, place = found.export(target)
    if json:
        print_json({"run": run, "export": place})
    else:
        print(f"exported the best checkpoint of {run} to {place}")


def _confirm(found: "BestResult", top: int | None, seeds: int | None, json: bool) -> None:
    """Train the finalists and the recipe, and show what is known then; exit code 1 where that cannot be told."""
    done = found.confirm(top=top, seeds=seeds, show="json" if json else True)
    _show(done, json)
    if done.is_provisional:
        raise typer.Exit(1)


def _refit(found: "BestResult", overrides: list[str], settings: dict[str, Any], json: bool) -> None:
    """Train the winner again and show it beside the recipe; exit code 1 where a refit has failed."""
    from rich.console import Console

    from cluster.terminal.best_display import show_refit

    given = {key: value for key, value in settings.items() if value is not None}
    done = found.refit(overrides, show="json" if json else True, **given)
    if json:
        print_json(done.to_dict())
    else:
        show_refit(done.refit, done.ranking, done.failures, Console())
    if done.failures:
        raise typer.Exit(1)
