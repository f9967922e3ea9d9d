"""The table of all trials."""

from dataclasses import dataclass

from cluster.analysis.configurations import SEARCHED, scored_trial
from cluster.analysis.value_text import value_text
from cluster.report.sweep.view import STATUS, View, score_name
from cluster.sweeps.records import Trial


@dataclass(frozen=True)
class Row:
    """One trial: `values` of the parameters ("" where it does not use one), `scores` None where unknown."""

    run: str
    about: str
    status: str
    reason: str
    values: list[str]
    scores: list[float | None]
    rows: str
    seconds: float
    is_best: bool


@dataclass(frozen=True)
class Table:
    """`parameters` and `scores` name the columns; trials without a score come last."""

    parameters: list[str]
    scores: list[str]
    rows: list[Row]


def trial_table(view: View) -> Table:
    """All trials, the highest score first, baselines and refits below those of the search."""
    keys = view.score_keys
    order = {point.trial.run: place for place, point in enumerate(view.points)}
    trials = sorted(view.sweep.trials, key=lambda t: (t.role not in SEARCHED, order.get(t.run, len(order))))
    return Table(
        list(view.parameters), [score_name(key) for key in keys], [_row(view, trial, keys) for trial in trials]
    )


def _row(view: View, trial: Trial, keys: list[str]) -> Row:
    scored = scored_trial(trial, view.selection)
    best, sample = (scored.best, scored.sample) if scored else (None, trial.sample)
    return Row(
        run=trial.run,
        about=_about(trial),
        status=STATUS[trial.status],
        reason=trial.reason or "",
        values=[value_text(sample[name]) if name in sample else "" for name in view.parameters],
        scores=[best.scores.get(key) if best else None for key in keys],
        rows=f"{trial.rows:,} of {trial.planned_rows:,}" if trial.planned_rows else f"{trial.rows:,}",
        seconds=trial.seconds,
        is_best=view.winner is not None and trial is view.winner.trial,
    )


def _about(trial: Trial) -> str:
    return {
        "recipe": "the recipe",
        "sample": "",
        "baseline": f"{trial.sample.get('task', '')} alone",
        "refit": "the winner again",
        "confirm": f"configuration {trial.number} again, to confirm the winner",
    }[trial.role]
