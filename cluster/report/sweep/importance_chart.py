"""Which parameters matter."""

from typing import TYPE_CHECKING

from cluster.analysis.importance import Importance, importance_remarks
from cluster.report.drawing import INK, SERIES, Figure, draw
from cluster.report.sweep.view import View, score_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def importance_figures(view: View, found: Importance) -> list[Figure]:
    """Bars for the parameters that can be told from noise: of all trials, and of those that only some trials have."""
    score, remarks = score_name(view.selection), " ".join(importance_remarks(found))
    everywhere = [name for name in found.values if name not in found.conditions]
    about = f"How much of the differences in the {score} goes with each parameter alone, with 95 % intervals."
    figures = [_bars("Importance of each parameter", f"{about} {remarks}", found, everywhere)] if everywhere else []
    some = [name for name in found.values if name in found.conditions]
    if some:
        where = "; ".join(f"{name}: {found.conditions[name]}, {found.trials[name]} configurations" for name in some)
        about = f"As a share of the differences in the {score} among the trials that use it. {where}."
        figures.append(_bars("Importance where a parameter is used", about, found, some))
    return figures


def _bars(title: str, caption: str, found: Importance, names: list[str]) -> Figure:
    names = list(reversed(names))
    shares = [found.values[name] for name in names]

    def paint(axes: "Axes") -> None:
        axes.barh([_cut(name) for name in names], shares, 0.6, color=SERIES[0])
        for place, name in enumerate(names):
            low, high = found.intervals[name]
            axes.plot([low, high], [place, place], color=INK, linewidth=1)
            text = f"{found.values[name]:.0%}"
            axes.annotate(text, (max(high, shares[place]), place), (4, 0), textcoords="offset points", va="center")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.locator_params(axis="x", nbins=3)
        axes.margins(x=0.2)
        axes.set_xlim(left=0)

    return draw(title, caption.strip(), paint, 0.8 + 0.24 * len(names))


def _cut(name: str) -> str:
    """A long name without its middle: its ends tell it from others."""
    return name if len(name) <= 28 else f"{name[:12]}…{name[-15:]}"
