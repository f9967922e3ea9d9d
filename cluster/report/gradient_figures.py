"""How the tasks' gradients get along, and what weight each has."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from cluster.report.drawing import CELL, SERIES, Figure, draw
from cluster.report.line_chart import Curve, curves, line_chart
from cluster.report.source import Source

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MANY_TASKS = 8
_CURVES = 10
_WRITTEN = 10


def gradient_figures(source: Source) -> list[Figure]:
    """How the tasks pull on the shared encoder, and what weight each has."""
    figures = []
    if cosines := curves(source.train, "combination/cosine/"):
        if len(_tasks(cosines)) >= _MANY_TASKS:
            figures.append(_heat_map(cosines))
        figures.append(_cosine_chart(cosines))
    weights = curves(source.train, "combination/weight/")
    if weights and constant_weights(source) is None:
        caption = (
            "The weight of each task's gradient in the update. With gradient surgery it changes with the conflicts."
        )
        figures.append(line_chart("Weight of each task", caption, weights, "weight", source.config.tasks, smooth=True))
    return figures


def _cosine_chart(cosines: Mapping[str, Curve]) -> Figure:
    """Cosines over the steps; of many tasks only the pairs that are most at odds."""
    caption = (
        "Whether two tasks want the shared encoder to move the same way: 1 is the same direction, 0 means that they do not "
        "mind each other, below 0 one undoes what the other does. Gradient surgery acts where a curve is below 0."
    )
    if len(_tasks(cosines)) >= _MANY_TASKS and len(cosines) > _CURVES:
        means = mean_cosines(cosines)
        caption += f" Of the {len(cosines)} pairs these are the {_CURVES} that are most at odds on average."
        worst = sorted(cosines, key=lambda pair: np.nan_to_num(means[pair], nan=2.0))[:_CURVES]
        cosines = {pair: cosines[pair] for pair in worst}
    return line_chart("Agreement of the tasks' gradients", caption, cosines, "cosine", zero=True, smooth=True)


def mean_cosines(cosines: Mapping[str, Curve]) -> dict[str, float]:
    """Pair of tasks to the mean of its finite cosines over the records, not a number where there is none."""
    finite = {pair: [value for value in values if np.isfinite(value)] for pair, (_, values) in cosines.items()}
    return {pair: float(np.mean(values)) if values else float("nan") for pair, values in finite.items()}


def _tasks(pairs: Mapping[str, Curve]) -> list[str]:
    """The tasks of pairs `a-b`; a task's name has no hyphen."""
    return list(dict.fromkeys(task for pair in pairs for task in pair.split("-")))


def _heat_map(cosines: Mapping[str, Curve]) -> Figure:
    tasks, means = _tasks(cosines), mean_cosines(cosines)
    count = len(tasks)

    def paint(axes: "Axes") -> None:
        from matplotlib.patches import Rectangle

        for pair, mean in means.items():
            # Below the diagonal.
            x, y = sorted(tasks.index(task) for task in pair.split("-"))
            shade = 0.0 if np.isnan(mean) else min(1.0, abs(mean))
            colour = SERIES[1] if mean < 0 else CELL
            axes.add_patch(Rectangle((x - 0.48, y - 0.48), 0.96, 0.96, color=colour, alpha=0.04 + 0.66 * shade, lw=0))
            if count <= _WRITTEN:
                text = "–" if np.isnan(mean) else f"{mean:.2f}".replace("0.", ".").replace("-", "−")
                axes.text(x, y, text, ha="center", va="center", fontsize=7.5)
        axes.set(xlim=(-0.5, count - 1.5), ylim=(count - 0.5, 0.5), aspect="equal")
        axes.set_yticks(range(1, count), [_cut(task) for task in tasks[1:]])
        axes.set_xticks(
            range(count - 1), [_cut(task) for task in tasks[:-1]], rotation=40, ha="right", rotation_mode="anchor"
        )

    return draw("Mean agreement of each pair of tasks", _heat_caption(means), paint, height=3.6)


def _cut(name: str) -> str:
    return name if len(name) <= 14 else f"{name[:13]}…"


def _heat_caption(means: Mapping[str, float]) -> str:
    words = (
        "The mean cosine of two tasks' gradients over the whole training: orange, below 0, where they are at odds, blue where they "
        "pull the same way; the stronger, the more. "
    )
    known = {pair: mean for pair, mean in means.items() if not np.isnan(mean)}
    if not known:
        return words + "None of them is a finite number."
    low, high = min(known, key=lambda pair: known[pair]), max(known, key=lambda pair: known[pair])
    return (
        words
        + f"Most at odds: {low.replace('-', ' and ')} ({known[low]:+.2f}); most alike: {high.replace('-', ' and ')} ({known[high]:+.2f})."
    )


def constant_weights(source: Source) -> str | None:
    """The weight of each task in words where none of them ever changes; None otherwise, or where none is known."""
    weights = curves(source.train, "combination/weight/")
    if not weights or any(min(values) != max(values) for _, values in weights.values()):
        return None
    if {values[0] for _, values in weights.values()} == {1.0}:
        return "all 1"
    return ", ".join(f"{task} {values[0]:.3g}" for task, (_, values) in weights.items())
