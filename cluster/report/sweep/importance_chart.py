"""Which parameters matter."""

from typing import TYPE_CHECKING

from cluster.analysis.importance import Importance
from cluster.report.drawing import SERIES, Figure, draw
from cluster.report.sweep.view import View, score_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def importance_figure(view: View, found: Importance) -> Figure:
    """A bar for each parameter whose importance is known; needs one."""
    names = list(reversed(found.values))

    def paint(axes: "Axes") -> None:
        bars = axes.barh([_cut(name) for name in names], [found.values[name] for name in names], 0.6, color=SERIES[0])
        axes.bar_label(bars, [f"{found.values[name]:.0%}" for name in names], padding=3)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.locator_params(axis="x", nbins=3)
        axes.margins(x=0.15)

    caption = f"How much of the differences in the {score_name(view.selection)} each parameter explains (fANOVA). "
    caption += f"Most here: {names[-1]} ({found.values[names[-1]]:.0%}). {found.reason or ''}"
    return draw("Importance of each parameter", caption.strip(), paint, 0.8 + 0.24 * len(names))


def _cut(name: str) -> str:
    """A long name without its middle: its ends tell it from others."""
    return name if len(name) <= 28 else f"{name[:12]}…{name[-15:]}"
