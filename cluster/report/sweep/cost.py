"""What the sweep spent, and what stopping early saved."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cluster.report.drawing import SERIES, Figure, draw
from cluster.report.sweep.view import STATUS, View
from cluster.sweeps.records import Trial

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Spent:
    """The compute of some trials: training rows done and planned, tokens done, and seconds."""

    trials: int
    rows: int
    planned_rows: int
    tokens: int
    seconds: float

    @property
    def left_out(self) -> int:
        """Planned rows that were not trained."""
        return max(0, self.planned_rows - self.rows)

    @property
    def share_left_out(self) -> float:
        """Their share of the plan."""
        return self.left_out / self.planned_rows if self.planned_rows else 0.0


def spent(trials: Sequence[Trial]) -> Spent:
    """The sum over `trials`."""
    return Spent(
        trials=len(trials),
        rows=sum(trial.rows for trial in trials),
        planned_rows=sum(trial.planned_rows for trial in trials),
        tokens=sum(trial.tokens for trial in trials),
        seconds=sum(trial.seconds for trial in trials),
    )


def spent_by_status(view: View) -> dict[str, Spent]:
    """Status to the compute of the search's trials that have begun; baselines and refits are left out."""
    begun = [trial for trial in view.searched if trial.status != "waiting"]
    found = {status: spent([trial for trial in begun if trial.status == status]) for status in STATUS}
    return {status: own for status, own in found.items() if own.trials}


def cost_sentence(view: View) -> str:
    """What was saved against training every trial in full."""
    parts = spent_by_status(view)
    rows, planned = (sum(getattr(own, name) for own in parts.values()) for name in ("rows", "planned_rows"))
    if not planned:
        return "No trial has begun."
    words = f"{rows:,} of the {planned:,} training rows that all {sum(p.trials for p in parts.values())} trials in full would take"
    words += f" ({rows / planned:.0%}) were trained. "
    stopped = parts.get("stopped")
    if stopped is None:
        return words + "Nothing was saved by stopping early."
    return (
        words
        + f"Stopping {stopped.trials} early saved {stopped.left_out:,} rows, {stopped.left_out / planned:.0%} of the whole."
    )


def cost_figures(view: View) -> list[Figure]:
    """Rows trained of those planned, and seconds, by how the trials ended."""
    parts = spent_by_status(view)
    if not parts:
        return []
    found = [_seconds(view, parts)]
    if any(own.planned_rows for own in parts.values()):
        found.insert(0, _rows(view, parts))
    return found


def _names(parts: dict[str, Spent]) -> list[str]:
    return [f"{STATUS[status]} ({own.trials})" for status, own in parts.items()]


def _rows(view: View, parts: dict[str, Spent]) -> Figure:
    names, values = _names(parts), list(parts.values())

    def paint(axes: "Axes") -> None:
        axes.barh(names, [own.rows for own in values], 0.55, color=SERIES[0])
        rest = axes.barh(
            names, [own.left_out for own in values], 0.55, left=[own.rows for own in values], facecolor="none"
        )
        for bar in rest:
            bar.set(edgecolor=SERIES[0], linewidth=1, linestyle=":")
        for place, own in enumerate(values):
            text = f"{own.rows:,} of {own.planned_rows:,}" if own.left_out else f"{own.rows:,}"
            axes.text(0, place - 0.3, text, va="bottom", fontsize=8.5)
        axes.set_ylim(len(values) - 0.4, -0.8)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.locator_params(axis="x", nbins=4)
        axes.set_xlabel("training rows")

    caption = (
        "Full bars are rows that were trained, dotted frames those that a trial in full would have trained on top. "
        + cost_sentence(view)
    )
    return draw("Compute spent and saved", caption, paint, 0.9 + 0.5 * len(parts))


def _seconds(view: View, parts: dict[str, Spent]) -> Figure:
    names, values = _names(parts), [own.seconds for own in parts.values()]

    def paint(axes: "Axes") -> None:
        bars = axes.barh(names, values, 0.55, color=SERIES[0])
        axes.bar_label(bars, [f"{value:,.0f}" for value in values], padding=3)
        axes.set_ylim(len(values) - 0.4, -0.6)
        axes.margins(x=0.18)
        axes.locator_params(axis="x", nbins=4)
        axes.set_xlabel("seconds")

    total = sum(values)
    caption = (
        f"How long the trials ran, {total:,.0f} seconds together, by how they ended. The sweep itself took "
        f"{view.sweep.elapsed:,.0f} seconds: trials may run side by side. What failed trials took is lost."
    )
    return draw("Time by how the trials ended", caption, paint, 0.9 + 0.4 * len(parts))
