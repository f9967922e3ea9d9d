"""Cosines between tasks' gradients as coloured cells: orange below 0, where tasks are at odds, blue above."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cluster.report.drawing import CELL, SERIES, Figure, draw

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MANY_TASKS = 8
_MOST_ROWS = 12
_WRITTEN, _WRITTEN_LAYERS, _NARROW = 10, 14, 9


def pair_matrix(title: str, caption: str, means: Mapping[str, float]) -> Figure:
    """Every pair `a-b` of tasks as a cell below the diagonal."""
    tasks = tasks_of(means)
    count = len(tasks)

    def paint(axes: "Axes") -> None:
        for pair, mean in means.items():
            # Below the diagonal.
            x, y = sorted(tasks.index(task) for task in pair.split("-"))
            _cell(axes, x, y, mean, 7.5 if count <= _WRITTEN else None)
        axes.set(xlim=(-0.5, count - 1.5), ylim=(count - 0.5, 0.5), aspect="equal")
        axes.set_yticks(range(1, count), [_cut(task, 14) for task in tasks[1:]])
        _slanted(axes, [_cut(task, 14) for task in tasks[:-1]])

    return draw(title, f"{caption} {_extremes(means)}", paint, height=3.6)


def layer_map(title: str, caption: str, rows: Mapping[str, Sequence[float]], layers: Sequence[str]) -> Figure:
    """Pairs by layers; of more than 12 pairs those most at odds anywhere."""
    left = len(rows) - _MOST_ROWS
    if left > 0:
        lowest = sorted(rows, key=lambda pair: min((v for v in rows[pair] if np.isfinite(v)), default=2.0))
        rows = {pair: rows[pair] for pair in lowest[:_MOST_ROWS]}
        caption += f" Of {left + _MOST_ROWS} pairs these are the {_MOST_ROWS} that are most at odds in some layer."

    # A narrow figure shrinks on a phone, a wide one scrolls.
    letters = 7.5 if len(layers) <= _NARROW else 6.5 if len(layers) <= _WRITTEN_LAYERS else None

    def paint(axes: "Axes") -> None:
        for y, cosines in enumerate(rows.values()):
            for x, cosine in enumerate(cosines):
                _cell(axes, x, y, cosine, letters)
        axes.set(xlim=(-0.5, len(layers) - 0.5), ylim=(len(rows) - 0.5, -0.5))
        axes.set_yticks(range(len(rows)), [_cut(pair, 24) for pair in rows])
        _slanted(axes, layers)

    return draw(title, caption, paint, 1.3 + 0.34 * len(rows), 3.9 if len(layers) <= _NARROW else 5.6)


def tasks_of(pairs: Mapping[str, object]) -> list[str]:
    """The tasks of pairs `a-b`; a task's name has no hyphen."""
    return list(dict.fromkeys(task for pair in pairs for task in pair.split("-")))


def _cell(axes: "Axes", x: int, y: int, cosine: float, letters: float | None) -> None:
    from matplotlib.patches import Rectangle

    shade = 0.0 if np.isnan(cosine) else min(1.0, abs(cosine))
    colour = SERIES[1] if cosine < 0 else CELL
    axes.add_patch(Rectangle((x - 0.48, y - 0.48), 0.96, 0.96, color=colour, alpha=0.04 + 0.66 * shade, lw=0))
    if letters is not None:
        text = "–" if np.isnan(cosine) else f"{cosine:.2f}".replace("0.", ".").replace("-", "−")
        axes.text(x, y, text, ha="center", va="center", fontsize=letters)


def _slanted(axes: "Axes", names: Sequence[str]) -> None:
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right", rotation_mode="anchor")


def _cut(name: str, length: int) -> str:
    return name if len(name) <= length else f"{name[: length - 1]}…"


def _extremes(means: Mapping[str, float]) -> str:
    known = {pair: mean for pair, mean in means.items() if not np.isnan(mean)}
    if not known:
        return "None of them is a finite number."
    low, high = min(known, key=lambda pair: known[pair]), max(known, key=lambda pair: known[pair])
    return f"Most at odds: {low.replace('-', ' and ')} ({known[low]:+.2f}); most alike: {high.replace('-', ' and ')} ({known[high]:+.2f})."
