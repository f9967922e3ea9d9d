"""Parallel coordinates: every trial as one line through its parameters to its score."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cluster.analysis.value_text import value_text
from cluster.report.drawing import FAINT, INK, PANEL, RAMP, WIDTH, Figure, draw
from cluster.report.sweep.scale import Scale, scale_of
from cluster.report.sweep.view import Point, View, listed, score_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_RAIL = -0.2
# Inches: between two axes, of all of them together where they fit, and of a line of letters.
_STEPS = (1.2, 1.4)
_FULL = 9.0
_LINE = 0.15
_HEIGHT = 4.0
_LETTERS = 13


def parallel_figure(view: View) -> Figure:
    """One axis for each parameter and, on the right, one for the score; needs a point."""
    points = view.points
    names = [name for name in view.parameters if any(name in point.sample for point in points)]
    scales = [
        scale_of(name, view.parameters[name], [p.sample[name] for p in points if name in p.sample]) for name in names
    ]
    scores = [point.score(view.selection) for point in points]
    scales.append(Scale(score_name(view.selection), min(scores), max(scores)))
    paths = _paths(view, scales)
    bottom = _RAIL - 0.16 if min(map(min, paths)) <= _RAIL else -0.06

    def paint(axes: "Axes") -> None:
        # The best come last, on top of the others.
        for rank in reversed(range(len(points))):
            colour = RAMP[round((len(RAMP) - 1) * (1 - rank / max(1, len(points) - 1)))]
            _line(axes, paths[rank], colour, 2.8 if points[rank] is view.winner else 1.3)
            if points[rank].trial.role == "recipe" and points[rank].trial.repeat == 0:
                axes.plot(range(len(scales)), paths[rank], color=INK, lw=1.4, dashes=(4, 3), zorder=4)
        for place, scale in enumerate(scales):
            _axis(axes, place, scale)
            if min(path[place] for path in paths) <= _RAIL:
                axes.text(place, _RAIL - 0.08, "not used", ha="center", va="top", fontsize=8, fontstyle="italic")
        axes.set(xlim=(-0.55, len(scales) - 0.75), ylim=(bottom, 1.02))
        axes.set_axis_off()

    width = max(WIDTH, 0.9 + len(names) * min(_STEPS[1], max(_STEPS[0], _FULL / max(1, len(names)))))
    title = f"Every trial's parameters and its {score_name(view.selection)}"
    return draw(title, _caption(view, names), paint, _height(scales, 1.02 - bottom), width)


def _height(scales: Sequence[Scale], span: float) -> float:
    """Inches in which the names of each axis stand below one another; its length is one `span`th of the drawing."""
    lines = [
        len(scale.categories) * max(_lines(_broken(name)) for name in scale.categories)
        for scale in scales
        if scale.is_choice
    ]
    headings = max(_lines(_heading(scale)) for scale in scales)
    return max(_HEIGHT, (headings + 1 + span * (max(lines, default=0) + 1)) * _LINE)


def _lines(text: str) -> int:
    return text.count("\n") + 1


def _paths(view: View, scales: Sequence[Scale]) -> list[list[float]]:
    """Where the line of each point crosses each axis, the last of which is the score: below `_RAIL` if it has no value."""
    columns = []
    for scale in scales[:-1]:
        offsets = _offsets(scale, view.points)
        below = (_RAIL - 0.05 * rank / len(view.points) for rank in range(len(view.points)))
        has = (scale.name in point.sample for point in view.points)
        columns.append([own if known else skip for own, skip, known in zip(offsets, below, has, strict=True)])
    columns.append([scales[-1].place(point.score(view.selection)) for point in view.points])
    return [list(path) for path in zip(*columns, strict=True)]


def _offsets(scale: Scale, points: Sequence[Point]) -> list[float]:
    """Each point's place on the axis; those of one choice lie above each other in the order of their scores."""
    if not scale.is_choice:
        return [scale.place(p.sample[scale.name]) if scale.name in p.sample else 0.0 for p in points]
    known = [value_text(p.sample[scale.name]) if scale.name in p.sample else None for p in points]
    room = 0.5 / len(scale.categories)
    places = []
    for index, name in enumerate(known):
        rank, count = known[:index].count(name), known.count(name)
        shift = 0.0 if count == 1 else room * (0.5 - rank / (count - 1))
        places.append(0.0 if name is None else scale.place(name) + shift)
    return places


def _line(axes: "Axes", line: Sequence[float], colour: str, width: float) -> None:
    """Full where both ends are values, dotted where the line goes by an axis that the trial does not use."""
    for place in range(len(line) - 1):
        ends = line[place : place + 2]
        skips = min(ends) <= _RAIL
        axes.plot(
            [place, place + 1],
            ends,
            color=colour,
            linewidth=min(width, 1.1) if skips else width,
            linestyle=":" if skips else "-",
            solid_capstyle="round",
        )


def _axis(axes: "Axes", place: int, scale: Scale) -> None:
    axes.plot([place, place], [0, 1], color=FAINT, linewidth=1.2, zorder=3)
    box: Mapping[str, Any] = {"facecolor": PANEL, "alpha": 0.9, "linewidth": 0, "boxstyle": "square,pad=0.1"}
    for height, label in scale.ticks():
        axes.plot([place - 0.03, place], [height, height], color=INK, linewidth=0.8, zorder=5)
        axes.text(place - 0.05, height, _broken(label), ha="right", va="center", fontsize=8, bbox=box, zorder=6)
    axes.text(place, 1.05, _heading(scale), ha="center", va="bottom", fontsize=8.5)


def _heading(scale: Scale) -> str:
    name = "mean\ndev score" if scale.name == "mean dev score" else _broken(scale.name.replace(".", ".\n"))
    return name + ("\n(log scale)" if scale.is_log else "")


def _broken(name: str) -> str:
    """The name in lines that fit between two axes, broken where its words end."""
    lines = []
    for line in name.split("\n"):
        lines.append("")
        for word in re.findall(r"[^_ ]*[_ ]?", line):
            if lines[-1] and len((lines[-1] + word).rstrip()) > _LETTERS:
                lines.append("")
            lines[-1] += word if len(word) <= _LETTERS else f"{word[: _LETTERS - 1]}…"
    return "\n".join(line.rstrip() for line in lines)


def _caption(view: View, names: Sequence[str]) -> str:
    words = (
        "Each line is one trial. Follow it from left to right: where it crosses an axis is the value that the trial had; the last "
        "axis is its score. Blue are the best trials, orange the worst; the thickest line is the winner. "
    )
    if any(p.trial.role == "recipe" for p in view.points):
        words += "The dashed line in the colour of the letters is the recipe. "
    skipped = [name for name in names if any(name not in point.sample for point in view.points)]
    if skipped:
        words += (
            f"A dotted line that runs below an axis is a trial that does not use this parameter ({listed(skipped)}). "
        )
    if any(view.parameters[name]["kind"] == "choice" for name in names):
        words += "Among the lines of one name the better ones lie higher. "
    missing = len(view.searched) - len(view.points)
    return words + (f"{missing} of {len(view.searched)} trials have no score and no line." if missing else "")
