"""The course of every trial, and where the scheduler ended it."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cluster.report.drawing import FAINT, INK, SERIES, WIDTH, Figure, add_legend, draw
from cluster.report.sweep.view import View, score_name
from cluster.sweeps.records import Trial

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

Course = list[tuple[int, float]]

_LINES: dict[str, dict[str, Any]] = {
    "finished": {"color": SERIES[0], "linewidth": 1.3},
    "stopped": {"color": SERIES[1], "linewidth": 1.1, "linestyle": "-"},
    "failed": {"color": SERIES[3], "linewidth": 1.3, "linestyle": "--"},
    "running": {"color": SERIES[5], "linewidth": 1.3, "linestyle": "-."},
}
_ENDS = {"finished": ("o", 4), "stopped": ("x", 6), "failed": ("X", 6), "running": (">", 5)}
_NAMES = {"finished": "finished", "stopped": "stopped ×", "failed": "failed", "running": "running"}


def rungs(view: View) -> list[int]:
    """Training rows at which ASHA compares trials and stops the worse ones; none for other schedulers."""
    options = view.sweep.options
    planned = [trial for trial in view.searched if trial.planned_iterations]
    if options.scheduler != "asha" or not planned:
        return []
    longest = max(planned, key=lambda trial: trial.planned_iterations)
    unit, found = longest.planned_rows / longest.planned_iterations, options.grace
    rows = []
    while found < longest.planned_iterations:
        rows.append(round(found * unit))
        found *= options.reduction
    return rows


def stopping_figure(view: View) -> Figure | None:
    """Score over training rows; None where no trial has a score."""
    courses = {trial.run: _course(trial, view.selection) for trial in view.searched}
    drawn = [trial for trial in view.searched if courses[trial.run] and trial.status in _LINES]
    if not drawn:
        return None

    def paint(axes: "Axes") -> None:
        for rows in rungs(view):
            axes.axvline(rows, color=FAINT, linewidth=1.4, linestyle=(0, (4, 2)))
            top = axes.get_xaxis_transform()
            axes.text(rows, 1.01, f"{rows:,}", transform=top, ha="center", va="bottom", fontsize=8)
        handles = _plot_all(axes, view, drawn, courses)
        axes.set_xlabel("training rows")
        axes.set_ylabel(score_name(view.selection))
        axes.set_xlim(left=0)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.locator_params(axis="x", nbins=6)
        axes.grid(axis="y")
        add_legend(axes, list(handles.values()), list(handles))

    return draw("Who was stopped, and when", _caption(view), paint, 3.6, WIDTH)


def _course(trial: Trial, key: str) -> Course:
    points = [(report.rows, report.scores.get(key, math.nan)) for report in trial.reports]
    return [(rows, score) for rows, score in points if math.isfinite(score)]


def _plot_all(axes: "Axes", view: View, drawn: Sequence[Trial], courses: Mapping[str, Course]) -> "dict[str, Artist]":
    """Draw the lines and give those of the legend by name; the important ones come last, on top."""
    handles: dict[str, Artist] = {}
    for trial in sorted(drawn, key=lambda trial: trial.status == "finished"):
        handles[_NAMES[trial.status]] = _plot(axes, courses[trial.run], trial, view.selection)
    if view.winner is not None:
        course = zip(*courses[view.winner.trial.run], strict=True)
        handles["winner"] = axes.plot(*course, color=SERIES[2], linewidth=2.8, zorder=4)[0]
    if recipe := next((trial for trial in drawn if trial.role == "recipe"), None):
        course = zip(*courses[recipe.run], strict=True)
        handles["recipe"] = axes.plot(*course, color=INK, linewidth=1.6, dashes=(2, 1.5), zorder=5)[0]
    return handles


def _plot(axes: "Axes", course: Course, trial: Trial, key: str) -> "Artist":
    look = _LINES[trial.status]
    line = axes.plot(*zip(*course, strict=True), **look)[0]
    marker, size = _ENDS[trial.status]
    axes.plot(*course[-1], marker=marker, markersize=size, color=look["color"], markeredgewidth=1.5, zorder=6)
    first_ones = {report.run: report for report in reversed(trial.reports) if report.run != trial.run}
    for report in first_ones.values():
        axes.plot(report.rows, report.scores.get(key, math.nan), marker="|", markersize=9, color=look["color"])
    return line


def _caption(view: View) -> str:
    words = "Each line is one trial from its first evaluation to its last: where it ends, its training ended. "
    if found := rungs(view):
        words += (
            f"At the broken upright lines ({', '.join(f'{rows:,}' for rows in found)} rows) ASHA compares the trials that came "
            f"this far; about one in {view.sweep.options.reduction} goes on. "
        )
    elif view.sweep.options.scheduler == "fifo":
        words += "The scheduler (fifo) stops none: every trial trains in full. "
    stopped = [trial for trial in view.searched if trial.status == "stopped"]
    if any(trial.generations for trial in view.searched):
        words += "An upright tick marks a trial's first evaluation after it took over the weights of a better one. "
    return words + (
        f"Here {len(stopped)} of {len(view.searched)} trials were stopped early."
        if stopped
        else "Here none was stopped early."
    )
