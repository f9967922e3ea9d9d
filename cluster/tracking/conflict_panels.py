"""How the tasks' gradients get along, as W&B shows it: curves of few tasks, matrices of many and of layers."""

from collections.abc import Iterable
from itertools import combinations
from typing import TYPE_CHECKING, Any

from cluster.tracking.run_panels import matrix_chart

if TYPE_CHECKING:
    from wandb.plot.custom_chart import CustomChart

CONFLICTS, LAYERS = "conflicts/cosines", "conflicts/layers"
# From so many tasks on their pairs are no curves of a run, but a matrix.
MANY_TASKS = 8
_COSINE, _LAYER_COSINE = "combination/cosine/", "combination/layer_cosine/"


class ConflictPanels:
    """What becomes a matrix at the end of a run; W&B keeps every table as an artifact."""

    def __init__(self) -> None:
        self._cosines: dict[str, float] = {}
        self._layers: dict[str, list[float]] = {}

    def take(self, metrics: dict[str, Any]) -> None:
        """Take in a record."""
        self._cosines |= _under(metrics, _COSINE)
        for place, cosine in _under(metrics, _LAYER_COSINE).items():
            self._layers.setdefault(place, []).append(cosine)

    def panels(self) -> "dict[str, CustomChart]":
        """The matrices, as far as there is anything to show."""
        found = {CONFLICTS: conflict_chart(self._cosines)} if self._cosines else {}
        means = {place: sum(values) / len(values) for place, values in self._layers.items()}
        return found | ({LAYERS: layer_chart(means)} if means else {})


def plotted(metrics: dict[str, Any]) -> dict[str, Any]:
    """A record without what is shown as a matrix."""
    hidden = (_LAYER_COSINE,) if len(_under(metrics, _COSINE)) < pairs_of(MANY_TASKS) else (_LAYER_COSINE, _COSINE)
    return {key: value for key, value in metrics.items() if not key.startswith(hidden)}


def pair_curves(tasks: Iterable[str]) -> list[str]:
    """The names of the curves of a recipe's pairs; none where there are many tasks."""
    names = list(tasks)
    pairs = [f"{_COSINE}{first}-{second}" for first, second in combinations(names, 2)]
    return pairs if len(names) < MANY_TASKS else []


def pairs_of(tasks: int) -> int:
    """How many pairs so many tasks make."""
    return tasks * (tasks - 1) // 2


def conflict_chart(cosines: dict[str, float]) -> "CustomChart":
    """A heat map of the cosines between the gradients of tasks, by pairs `a-b`: below 0 they conflict.

    W&B's confusion matrix is its only chart of a matrix.
    """
    cells: list[list[Any]] = []
    for pair, cosine in cosines.items():
        first, second = pair.split("-", 1)
        cells += [[first, second, cosine], [second, first, cosine]]
    names = sorted({cell[0] for cell in cells})
    return matrix_chart("cosine between the tasks' gradients", cells + [[name, name, 1.0] for name in names])


def layer_chart(means: dict[str, float]) -> "CustomChart":
    """A heat map of mean cosines by `a-b/layer`: a row for each pair, a column for each layer."""
    cells = [[*place.rsplit("/", 1), mean] for place, mean in means.items()]
    return matrix_chart("cosine between the tasks' gradients in each layer", cells)


def _under(metrics: dict[str, Any], prefix: str) -> dict[str, float]:
    return {key.removeprefix(prefix): value for key, value in metrics.items() if key.startswith(prefix)}
