"""What `concord diagnose` found, as one HTML page."""

from typing import TYPE_CHECKING, Any

from cluster.report.drawing import SERIES, Figure, add_legend, draw
from cluster.report.heat_maps import MANY_TASKS, layer_map, pair_matrix, tasks_of
from cluster.report.page import render_template
from multitask.diagnosis import Diagnosis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_PAIRS = 12


def render_diagnosis(found: Diagnosis) -> str:
    """The page as one HTML text."""
    figures = [
        figure for figure in (_matrix(found), _pairs(found), _layers(found), _methods(found)) if figure is not None
    ]
    return render_template("diagnosis.html.j2", title=f"{found.recipe}: diagnosis", found=found, figures_=figures)


def _pairs(found: Diagnosis) -> Figure | None:
    pairs = found.pairs[:_MOST_PAIRS]
    if not pairs:
        return None

    def paint(axes: "Axes") -> None:
        places = range(len(pairs))
        handles: list[Any] = [
            axes.barh([p + 0.2 for p in places], [pair.both for pair in pairs], 0.36, color=SERIES[1]),
            axes.barh([p - 0.2 for p in places], [pair.chance for pair in pairs], 0.36, color=SERIES[5], alpha=0.5),
        ]
        axes.set_yticks(places, [f"{pair.first}–{pair.second}"[:24] for pair in pairs])
        axes.set(xlim=(0, 1), xlabel="share of looks", ylim=(len(pairs) - 0.5, -0.5))
        add_legend(axes, handles, ["seen on both", "by chance"])

    caption = (
        "How often two tasks' gradients point against each other on both halves of their batches, beside how often that would be if the "
        "halves had nothing to do with each other. A longer first bar is conflict that is not the batch's noise."
    )
    return draw("Conflicts that both halves of a batch see", caption, paint, 1.4 + 0.34 * len(pairs))


def _layers(found: Diagnosis) -> Figure | None:
    if not found.pairs or len(found.blocks) < 2:
        return None
    caption = (
        "The mean cosine of two tasks' gradients in each layer of the encoder: orange, below 0, where they are at odds."
    )
    rows = {f"{pair.first}–{pair.second}": pair.layers for pair in found.pairs}
    return layer_map("Where tasks meet", caption, rows, found.blocks)


def _matrix(found: Diagnosis) -> Figure | None:
    """All pairs at one look, where there are many tasks."""
    means = {f"{pair.first}-{pair.second}": pair.cosine for pair in found.pairs}
    if len(tasks_of(means)) < MANY_TASKS:
        return None
    caption = "The mean cosine of two tasks' gradients: orange, below 0, where they are at odds, blue where they pull the same way."
    return pair_matrix("How each pair of tasks gets along", caption, means)


def _methods(found: Diagnosis) -> Figure:
    methods = found.methods

    def paint(axes: "Axes") -> None:
        places = range(len(methods))
        handles: list[Any] = [
            axes.barh([p + 0.2 for p in places], [own.to_sum for own in methods], 0.36, color=SERIES[0]),
            axes.barh([p - 0.2 for p in places], [own.harm for own in methods], 0.36, color=SERIES[1]),
        ]
        axes.set_yticks(places, [own.name for own in methods])
        axes.set(xlim=(min(0.0, *(own.to_sum for own in methods)), 1), ylim=(len(methods) - 0.5, -0.5))
        axes.axvline(1, color=SERIES[5], lw=0.6)
        add_legend(axes, handles, ["cosine to the sum's update", "looks against a task"])

    caption = (
        "What each method would have done with the gradients that were seen: how near its update of the encoder is to that of the sum, "
        "and how often it points against one of the tasks."
    )
    return draw("What each method would have done", caption, paint, 1.2 + 0.3 * len(methods))
