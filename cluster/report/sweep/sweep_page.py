"""The parts of a sweep's page."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from cluster.analysis.failures import grouped_failures
from cluster.analysis.importance import Importance, importance_remarks, importances
from cluster.report.drawing import Figure
from cluster.report.run_part import RunPart, run_part
from cluster.report.source import open_source
from cluster.report.sweep.cost import cost_figures
from cluster.report.sweep.effects import effect_figures
from cluster.report.sweep.fronts import front, front_figures
from cluster.report.sweep.grid import grid_figure
from cluster.report.sweep.head import facts, notes
from cluster.report.sweep.importance_chart import importance_figures
from cluster.report.sweep.parallel import parallel_figure
from cluster.report.sweep.stopping import stopping_figure
from cluster.report.sweep.trial_table import Table, trial_table
from cluster.report.sweep.view import View, listed, view_sweep
from cluster.report.sweep.winner import Winner, winner_of
from cluster.sweeps.store import SweepStore
from multitask.errors import UserError

_SHOWN = 6


@dataclass(frozen=True)
class Section:
    """Figures under one heading; `more` are folded away, `about` says what stands in their place or how to read them."""

    anchor: str
    title: str
    about: str
    figures: Sequence[Figure] = ()
    more: Sequence[Figure] = ()


@dataclass(frozen=True)
class SweepPart:
    """What is shown of a sweep. `run` is the winner's own run; without it `run_note` says why."""

    name: str
    place: str
    notes: list[str]
    facts: dict[str, str]
    failures: list[tuple[str, list[str]]]
    winner: Winner | None
    table: Table
    sections: list[Section] = field(default_factory=list)
    run: RunPart | None = None
    run_note: str = ""


def sweep_part(folder: SweepStore) -> SweepPart:
    """What is shown of the sweep in `folder`.

    Raises:
        UserError: a file of it is missing or damaged.
    """
    view = view_sweep(folder.read())
    importance = importances(view.sweep, view.selection)
    winner = winner_of(view, importance)
    run, run_note = _winner_run(folder, winner.run) if winner else (None, "")
    return SweepPart(
        name=view.sweep.name,
        place=view.sweep.location,
        notes=notes(view),
        facts=facts(view),
        failures=grouped_failures(view.sweep.trials),
        winner=winner,
        table=trial_table(view),
        sections=_sections(view, importance),
        run=run,
        run_note=run_note,
    )


def _winner_run(folder: SweepStore, name: str) -> tuple[RunPart | None, str]:
    try:
        return run_part(open_source(folder.run(name).location)), ""
    except UserError as error:
        return None, f"The run {name} cannot be shown: {error}"


def _sections(view: View, importance: Importance) -> list[Section]:
    course, cost = stopping_figure(view), cost_figures(view)
    found = [Section("cost", "Early stopping and compute", _COST, [course, *cost] if course else cost)]
    if len(view.points) > 1:
        found = [*_comparisons(view, importance), *found]
    return [section for section in found if section.figures]


def _comparisons(view: View, importance: Importance) -> list[Section]:
    """What needs several trials with a score."""
    grid, fronts = grid_figure(view), front_figures(view)
    remarks = " ".join(importance_remarks(importance))
    about = "" if importance.values else f"Which parameters matter cannot be told from noise. {remarks}".strip()
    bars = importance_figures(view, importance)
    return [
        Section(
            "parameters", "All parameters at once", about, [parallel_figure(view), *bars] if view.parameters else []
        ),
        Section("effects", "Each parameter by itself", _EFFECTS, effect_figures(view)),
        Section("grid", "Sampling and combination", "", [grid] if grid else []),
        Section("fronts", "One task against another", _fronts_text(view), fronts[:_SHOWN], fronts[_SHOWN:]),
    ]


_EFFECTS = (
    "How the scores go with one parameter. The trials differ in all parameters at once, so a pattern may come from another one; "
    "trials that were stopped early count with the score that they had reached."
)
_COST = "Rows of the search's own trials; baselines and refits are left out."


def _fronts_text(view: View) -> str:
    """How many trials no other one beats over all tasks together."""
    known = [point for point in view.points if all(math.isfinite(point.score(key)) for key in view.task_keys.values())]
    if not known:
        return ""
    names = [point.trial.run for point in front(known, list(view.task_keys.values()))]
    words = f"Over all tasks together {len(names)} of {len(known)} trials are beaten by no other one"
    return f"{words}: {listed(names)}. The pairs that are most at odds come first." if len(names) <= 8 else f"{words}."
