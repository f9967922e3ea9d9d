"""The scores of the tasks against one parameter at a time."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from cluster.analysis.value_text import value_text
from cluster.report.drawing import INK, Figure, add_legend, draw_panels
from cluster.report.sweep.looks import by_look
from cluster.report.sweep.scale import Scale, scale_of
from cluster.report.sweep.view import Point, View, listed, score_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

_ENOUGH = 6
_TREND = 0.3


def effect_figures(view: View) -> list[Figure]:
    """A figure for each parameter that a trial with a score has: small axes for the mean and each task."""
    found = []
    for name, about in view.parameters.items():
        points = [point for point in view.points if name in point.sample]
        if points:
            found.append(_effect(view, scale_of(name, about, [p.sample[name] for p in points]), points))
    return found


def _effect(view: View, scale: Scale, points: Sequence[Point]) -> Figure:
    keys = view.score_keys
    if len(view.task_keys) == 1:
        keys = [view.selection]
    tried = [name for name in scale.categories if any(value_text(p.sample[scale.name]) == name for p in points)]
    strips = Scale(scale.name, categories=tuple(tried)) if scale.is_choice else scale
    columns = min(2, len(keys))
    rows = -(-len(keys) // columns)

    def paint(canvas: "Canvas") -> None:
        panels = canvas.subplots(rows, columns, squeeze=False, sharex=not scale.is_choice, sharey=scale.is_choice)
        for axes, key in zip(panels.flat, keys, strict=False):
            axes.set_title(_short(key), fontsize=9)
            _dots(axes, view, strips, points, key)
        for axes in panels.flat[len(keys) :]:
            axes.set_axis_off()
        for axes in panels.flat[max(0, len(keys) - columns) : len(keys)]:
            axes.tick_params(labelbottom=True)
        looks = by_look(view, points)
        add_legend(panels[0, 0], [look.handle() for look in looks], [look.name for look in looks])
        canvas.supxlabel(
            "score" if scale.is_choice else scale.name + (" (log scale)" if scale.is_log else ""), fontsize=9
        )

    one = 0.5 + 0.21 * len(tried) if scale.is_choice else 1.35
    return draw_panels(scale.name, _caption(view, scale, points), paint, 0.75 + rows * max(one, 1.0))


def _short(key: str) -> str:
    """A score's task; the metric is in the table."""
    name = score_name(key) if key == "dev/mean" else key.split("/")[1]
    return name if len(name) <= 16 else f"{name[:15]}…"


def _dots(axes: "Axes", view: View, scale: Scale, points: Sequence[Point], key: str) -> None:
    known = [point for point in points if math.isfinite(point.score(key))]
    for look, own in by_look(view, known).items():
        scores = [point.score(key) for point in own]
        values = [(scale.number if scale.is_choice else scale.place)(point.sample[scale.name]) for point in own]
        axes.scatter(*((scores, values) if scale.is_choice else (values, scores)), zorder=3, **look.marks)
    if scale.is_choice:
        _strips(axes, scale, known, key)
        return
    ticks = scale.ticks()
    ticks = [ticks[place] for place in sorted({0, (len(ticks) - 1) // 2, len(ticks) - 1})]
    axes.set_xticks([place for place, _ in ticks], [label for _, label in ticks])
    axes.set_xlim(-0.08, 1.08)
    axes.locator_params(axis="y", nbins=4)
    axes.grid(axis="y")


def _strips(axes: "Axes", scale: Scale, points: Sequence[Point], key: str) -> None:
    """A row for each choice, with a line at the mean of its scores."""
    for place, name in enumerate(scale.categories):
        scores = [point.score(key) for point in points if value_text(point.sample[scale.name]) == name]
        if scores:
            axes.plot([np.mean(scores)] * 2, [place - 0.38, place + 0.38], color=INK, linewidth=1.6, zorder=2)
    axes.set_yticks(range(len(scale.categories)), [n if len(n) <= 16 else f"{n[:15]}…" for n in scale.categories])
    axes.set_ylim(len(scale.categories) - 0.4, -0.6)
    axes.locator_params(axis="x", nbins=3)
    axes.grid(axis="both")


def _caption(view: View, scale: Scale, points: Sequence[Point]) -> str:
    words = "Each mark is one trial. "
    if scale.is_choice:
        words += "The upright line is the mean of a row. "
    if len(points) < len(view.points):
        words += f"Only the {_trials(len(points))} that use this parameter can be shown{_condition(view, scale.name)}. "
    return words + (_choices(view, scale, points) if scale.is_choice else _trend(view, scale, points))


def _condition(view: View, name: str) -> str:
    when = view.parameters[name]["when"]
    parts = [f"{other} is {' or '.join(value_text(value) for value in values)}" for other, values in when.items()]
    return f" ({listed(parts)})" if parts else ""


def _choices(view: View, scale: Scale, points: Sequence[Point]) -> str:
    """The choices with the highest and the lowest mean, in words."""
    means = {}
    for name in scale.categories:
        scores = [p.score(view.selection) for p in points if value_text(p.sample[scale.name]) == name]
        if scores:
            means[name] = (float(np.mean(scores)), len(scores))
    untried = [name for name in scale.categories if name not in means]
    words = f"No trial with a score has {listed(untried)}. " if untried else ""
    if len(means) < 2:
        return words + "With a single value there is nothing to compare."
    order = sorted(means, key=lambda name: -means[name][0])
    told = [f"{name} ({means[name][0]:.3f}, {_trials(means[name][1])})" for name in (order[0], order[-1])]
    return words + f"By {score_name(view.selection)}, the highest row is {told[0]}, the lowest {told[1]}."


def _trials(count: int) -> str:
    return "1 trial" if count == 1 else f"{count} trials"


def _trend(view: View, scale: Scale, points: Sequence[Point]) -> str:
    """Spearman's rank correlation with the score, and where the best trials lie, in words."""
    values = [float(point.sample[scale.name]) for point in points]
    if len(points) < _ENOUGH or len(set(values)) < 3:
        return "Too few trials to see a trend."
    from scipy.stats import spearmanr

    correlation = float(spearmanr(values, [point.score(view.selection) for point in points]).statistic)
    best = values[: len(values) // 3]
    name, ends = score_name(view.selection), (value_text(min(best)), value_text(max(best)))
    if abs(correlation) < _TREND:
        words = f"The {name} neither rises nor falls with it throughout"
    else:
        words = f"Higher values go with a {'higher' if correlation > 0 else 'lower'} {name}"
    return f"{words} (rank correlation {correlation:+.2f}). The best third of the trials have {ends[0]} to {ends[1]}."
