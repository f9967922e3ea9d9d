"""How trials look in all figures of a sweep: by colour and by shape."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cluster.report.drawing import INK, PANEL, SERIES
from cluster.report.sweep.view import Point, View

if TYPE_CHECKING:
    from matplotlib.artist import Artist


@dataclass(frozen=True)
class Look:
    """A kind of trial: its name in the legend and matplotlib's marks for it."""

    name: str
    colour: str
    marker: str
    size: float = 26
    is_filled: bool = True

    @property
    def marks(self) -> dict[str, Any]:
        """Arguments of `Axes.scatter`."""
        face = self.colour if self.is_filled else PANEL
        return {"s": self.size, "marker": self.marker, "facecolors": face, "edgecolors": self.colour, "linewidths": 1.2}

    def handle(self) -> "Artist":
        """The legend's entry."""
        from matplotlib.lines import Line2D

        face = self.colour if self.is_filled else PANEL
        return Line2D(
            [], [], linestyle="", marker=self.marker, markersize=self.size**0.5, mfc=face, mec=self.colour, mew=1.2
        )


WINNER = Look("winner", SERIES[2], "*", 110)
RECIPE = Look("recipe", INK, "D", 34)
LOOKS = {
    "finished": Look("finished", SERIES[0], "o"),
    "stopped": Look("stopped", SERIES[1], "o", is_filled=False),
    "failed": Look("failed", SERIES[3], "X"),
    "running": Look("running", SERIES[5], "^", is_filled=False),
}


def by_look(view: View, points: Iterable[Point]) -> dict[Look, list[Point]]:
    """The points by how they look, in the order to draw them: the recipe and the winner come last, on top."""
    found: dict[Look, list[Point]] = {look: [] for look in (*LOOKS.values(), RECIPE, WINNER)}
    for point in points:
        found[_look_of(view, point)].append(point)
    return {look: own for look, own in found.items() if own}


def _look_of(view: View, point: Point) -> Look:
    if point is view.winner:
        return WINNER
    return RECIPE if point.trial.role == "recipe" else LOOKS[point.trial.status]
