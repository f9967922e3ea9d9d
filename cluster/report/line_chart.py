"""Curves over the optimizer step."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cluster.report.drawing import INK, Figure, add_legend, draw, legend_columns, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

_SMOOTHED_FROM = 60
_MARKED_UP_TO = 20

Curve = tuple[Sequence[float], Sequence[float]]


def curves(points: Iterable[Mapping[str, Any]], prefix: str) -> dict[str, Curve]:
    """Name behind `prefix` to steps and values, of all metrics that start with it and are numbers."""
    found: dict[str, tuple[list[float], list[float]]] = {}
    for point in points:
        for key, value in point.items():
            if key.startswith(prefix) and isinstance(value, int | float) and not isinstance(value, bool):
                steps, values = found.setdefault(key.removeprefix(prefix), ([], []))
                steps.append(point["step"])
                values.append(value)
    return dict(found)


def line_chart(
    title: str,
    caption: str,
    lines: Mapping[str, Curve],
    label: str,
    order: Iterable[str] = (),
    zero: bool = False,
    smooth: bool = False,
) -> Figure:
    """Curves with a legend above them; the points of short ones are marked, what is not finite is left out.

    A name has the style of its place in `order`, so that a task looks the same in all figures. `zero` draws the line at 0.
    With `smooth` a long curve is pale, and its running mean strong.
    """
    places = {name: place for place, name in enumerate(dict.fromkeys([*order, *lines]))}
    names = sorted(lines, key=lambda name: places[name])
    smoothed = smooth and max(len(steps) for steps, _ in lines.values()) >= _SMOOTHED_FROM
    columns = legend_columns(names)

    def paint(axes: "Axes") -> None:
        if zero:
            axes.axhline(0, color=INK, linewidth=0.8)
        drawn = [_plot(axes, lines[name], smoothed, style(places[name])) for name in names]
        axes.set_xlabel("optimizer step")
        axes.set_ylabel(label)
        axes.grid(axis="y")
        if not any(np.isfinite(values).any() for _, values in lines.values()):
            axes.text(0.5, 0.5, "none of the values is a finite number", transform=axes.transAxes, ha="center")
        if len(names) > 1:
            add_legend(axes, drawn, names)

    if smoothed:
        caption += " The pale lines are the single records, the strong ones their running means."
    return draw(title, caption, paint, height=2.3 + 0.17 * -(-len(names) // columns))


def _plot(axes: "Axes", curve: Curve, smoothed: bool, look: Mapping[str, Any]) -> "Line2D":
    steps, values = np.asarray(curve[0]), np.asarray(curve[1], dtype=float)
    values = np.where(np.isfinite(values), values, np.nan)
    if smoothed:
        axes.plot(steps, values, color=look["color"], linewidth=0.6, alpha=0.3)
        values = _running_mean(values)
    marker = "o" if len(steps) <= _MARKED_UP_TO else None
    line: Line2D = axes.plot(steps, values, marker=marker, markersize=3, **look)[0]
    return line


def _running_mean(values: np.ndarray) -> np.ndarray:
    """Mean of the numbers around each value, over a twentieth of all."""
    window = np.ones(max(1, len(values) // 20))
    known = np.isfinite(values)
    sums, counts = np.convolve(np.where(known, values, 0.0), window, "same"), np.convolve(known, window, "same")
    return np.where(counts > 0.5, sums / np.maximum(counts, 1.0), np.nan)
