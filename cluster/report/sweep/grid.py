"""Sampling against combination."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cluster.analysis.configurations import Values
from cluster.analysis.value_text import value_text
from cluster.report.drawing import CELL, FAINT, WIDTH, Figure, draw
from cluster.report.sweep.view import View, score_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROWS, COLUMNS = "sampling.name", "combination.name"


@dataclass(frozen=True)
class Cell:
    """The trials of one sampling with one combination: how many there are, and the scores of those that have one."""

    trials: int
    scores: Values

    def text(self) -> str:
        """What is written into it."""
        count = len(self.scores.each)
        if not count:
            return f"no score\n({self.trials})" if self.trials else "–"
        spread = "" if self.scores.spread is None else f"± {self.scores.spread:.3f} "
        return f"{self.scores.mean:.3f}\n{spread}({count})"


def grid_cells(view: View) -> dict[tuple[str, str], Cell]:
    """(sampling, combination) to its cell; empty where the sweep does not search both."""
    if not {ROWS, COLUMNS} <= set(view.parameters):
        return {}
    rows, columns = (_names(view, parameter) for parameter in (ROWS, COLUMNS))
    return {(row, column): _cell(view, row, column) for row in rows for column in columns}


def _names(view: View, parameter: str) -> list[str]:
    declared = view.parameters[parameter]["values"] or ()
    seen = [trial.sample[parameter] for trial in view.searched if parameter in trial.sample]
    return list(dict.fromkeys(value_text(value) for value in (*declared, *seen)))


def _cell(view: View, row: str, column: str) -> Cell:
    wanted = (row, column)
    trials = sum(
        tuple(value_text(trial.sample.get(key)) for key in (ROWS, COLUMNS)) == wanted for trial in view.searched
    )
    scores = [
        point.score(view.selection)
        for point in view.points
        if tuple(value_text(point.sample.get(key)) for key in (ROWS, COLUMNS)) == wanted
    ]
    return Cell(trials, Values(tuple(scores)))


def grid_figure(view: View) -> Figure | None:
    """The grid; None where the sweep does not search both, or nothing has a score."""
    cells = grid_cells(view)
    means = [cell.scores.mean for cell in cells.values() if cell.scores.each]
    if not means:
        return None
    rows, columns = (list(dict.fromkeys(key[place] for key in cells)) for place in (0, 1))
    low, high = min(means), max(means)

    def paint(axes: "Axes") -> None:
        for (row, column), cell in cells.items():
            x, y = columns.index(column), rows.index(row)
            _paint_cell(axes, x, y, cell, (cell.scores.mean - low) / (high - low) if high > low else 0.5)
        axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(rows) - 0.5, -0.5))
        axes.set_yticks(range(len(rows)), [name.replace("_", " ") for name in rows])
        axes.set_xticks(range(len(columns)), [name.replace("_", "\n") for name in columns])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_xlabel("combination")
        axes.set_ylabel("sampling")

    width = max(WIDTH, 1.1 + 0.7 * len(columns))
    return draw("Sampling and combination together", _caption(view, cells), paint, 0.8 + 0.42 * len(rows), width)


def _paint_cell(axes: "Axes", x: int, y: int, cell: Cell, share: float) -> None:
    from matplotlib.patches import Rectangle

    look = (
        {"color": CELL, "alpha": round(0.08 + 0.6 * share, 3), "lw": 0}
        if cell.scores.each
        else {"fc": "none", "ec": FAINT}
    )
    axes.add_patch(Rectangle((x - 0.47, y - 0.47), 0.94, 0.94, **look))
    axes.text(x, y, cell.text(), ha="center", va="center", fontsize=8, linespacing=1.05)


def _caption(view: View, cells: dict[tuple[str, str], Cell]) -> str:
    words = (
        f"Average of the {score_name(view.selection)} ± its standard deviation over the trials with this sampling and this combination, "
        "their number in brackets; the stronger the colour, the higher. Trials in a cell differ in their other parameters, too, "
        "and some were stopped early, so small differences mean little. "
    )
    tried = [key for key, cell in cells.items() if cell.trials]
    words += f"{len(cells) - len(tried)} of {len(cells)} cells were not tried (–). " if len(tried) < len(cells) else ""
    best = max((key for key in cells if cells[key].scores.each), key=lambda key: cells[key].scores.mean)
    return words + f"Highest here: {best[0]} with {best[1]}."
