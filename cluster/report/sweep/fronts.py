"""What one task gains at the cost of another."""

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from cluster.analysis.pareto import pareto_front
from cluster.report.drawing import SERIES, Figure, add_legend, draw
from cluster.report.sweep.looks import by_look
from cluster.report.sweep.view import Point, View, score_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def front_figures(view: View) -> list[Figure]:
    """A figure for each pair of tasks, those that are most at odds first."""
    found = []
    for one, other in itertools.combinations(view.task_keys.values(), 2):
        points = [p for p in view.points if math.isfinite(p.score(one)) and math.isfinite(p.score(other))]
        if points:
            found.append((_agreement(points, one, other), _front(view, points, one, other)))
    return [figure for _, figure in sorted(found, key=lambda pair: pair[0])]


def front(points: Sequence[Point], keys: Sequence[str]) -> list[Point]:
    """The trials that no other one surpasses in one of the scores `keys` without losing in another."""
    return [points[place] for place in pareto_front([[point.score(key) for key in keys] for point in points])]


def _agreement(points: Sequence[Point], one: str, other: str) -> float:
    """Rank correlation of two tasks' scores, 1 where it is not known."""
    values = np.array([[point.score(one), point.score(other)] for point in points])
    if len(values) < 3 or (values == values[0]).all(0).any():
        return 1.0
    from scipy.stats import spearmanr

    return float(spearmanr(values).statistic)


def _front(view: View, points: Sequence[Point], one: str, other: str) -> Figure:
    unsurpassed = sorted(front(points, [one, other]), key=lambda point: point.score(one))

    def paint(axes: "Axes") -> None:
        xs, ys = ([point.score(key) for point in unsurpassed] for key in (one, other))
        line = axes.step(xs, ys, where="pre", color=SERIES[3], linewidth=1.6)[0]
        axes.scatter(xs, ys, s=120, facecolors="none", edgecolors=SERIES[3], linewidths=1.2)
        looks = by_look(view, points)
        for look, own in looks.items():
            axes.scatter([p.score(one) for p in own], [p.score(other) for p in own], zorder=3, **look.marks)
        axes.set_xlabel(score_name(one))
        axes.set_ylabel(score_name(other))
        axes.set(xlim=_limits(points, unsurpassed, one), ylim=_limits(points, unsurpassed, other))
        axes.grid()
        add_legend(axes, [line, *(look.handle() for look in looks)], ["front", *(look.name for look in looks)])

    title = f"{score_name(one)} against {score_name(other)}"
    return draw(title, _caption(points, unsurpassed, one, other), paint, 3.1)


def _limits(points: Sequence[Point], unsurpassed: Sequence[Point], key: str) -> tuple[float, float]:
    """The ends of an axis on which the front, the recipe and the better half fill the room; others may lie outside."""
    scores = sorted((point.score(key) for point in points), reverse=True)
    needed = [p.score(key) for p in (*unsurpassed, *(p for p in points if p.trial.role == "recipe"))]
    low, high = min(*needed, scores[len(scores) // 2]), scores[0]
    pad = 0.1 * (high - low) or 0.01
    return low - pad, high + pad


def _caption(points: Sequence[Point], unsurpassed: Sequence[Point], one: str, other: str) -> str:
    words = "Each mark is one trial, better to the right and to the top. Those on the front (ringed) are beaten by none in both scores. "
    ends = [_limits(points, unsurpassed, key) for key in (one, other)]
    outside = sum(point.score(one) < ends[0][0] or point.score(other) < ends[1][0] for point in points)
    words += f"{outside} far below are outside of the picture. " if outside else ""
    if len(unsurpassed) == 1:
        return words + f"Here one trial, {unsurpassed[0].trial.run}, is the best for both: nothing has to be given up."
    left, right = unsurpassed[0], unsurpassed[-1]
    gain, loss = right.score(one) - left.score(one), left.score(other) - right.score(other)
    return words + (
        f"Here {len(unsurpassed)} of {len(points)} are on it: from {left.trial.run} to {right.trial.run}, {gain:.3f} more "
        f"{score_name(one)} costs {loss:.3f} {score_name(other)}."
    )
