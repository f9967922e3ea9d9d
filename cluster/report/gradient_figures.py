"""How the tasks' gradients get along, and what weight each has."""

from collections.abc import Mapping

import numpy as np

from cluster.report.drawing import Figure
from cluster.report.heat_maps import MANY_TASKS, layer_map, pair_matrix, tasks_of
from cluster.report.line_chart import Curve, curves, line_chart
from cluster.report.source import Source
from multitask.layer_names import layer_title

_CURVES = 10
_MEAN = (
    "The mean cosine of two tasks' gradients over the whole training: orange, below 0, where they are at odds, blue where they "
    "pull the same way; the stronger, the more."
)


def gradient_figures(source: Source) -> list[Figure]:
    """How the tasks pull on the shared encoder, and what weight each has."""
    figures = []
    if cosines := curves(source.train, "combination/cosine/"):
        if len(tasks_of(cosines)) >= MANY_TASKS:
            figures.append(pair_matrix("Mean agreement of each pair of tasks", _MEAN, mean_cosines(cosines)))
        figures += [_cosine_chart(cosines), *_rate_chart(source)]
    if layers := curves(source.train, "combination/layer_cosine/"):
        figures.append(_layer_map(layers))
    if norms := curves(source.train, "combination/norm/"):
        caption = (
            "How long each task's gradient of the shared encoder is: one many times as long as another leads their sum."
        )
        figures.append(
            line_chart("Length of each task's gradient", caption, norms, "norm", source.config.tasks, smooth=True)
        )
    weights = curves(source.train, "combination/weight/")
    if weights and constant_weights(source) is None:
        caption = (
            "The weight of each task's gradient in the update. With gradient surgery it changes with the conflicts."
        )
        figures.append(line_chart("Weight of each task", caption, weights, "weight", source.config.tasks, smooth=True))
    return figures


def _rate_chart(source: Source) -> list[Figure]:
    rate = curves(source.train, "combination/conflict_rate")
    if not rate:
        return []
    caption = "The share of pairs of tasks, over the steps of each record, whose gradients pointed against each other."
    return [line_chart("Conflict rate", caption, {"conflict rate": rate[""]}, "share of pairs", smooth=True)]


def _layer_map(looks: Mapping[str, Curve]) -> Figure:
    """`looks`: curves by `a-b/layer`."""
    means = mean_cosines(looks)
    layers = sorted({place.rpartition("/")[2] for place in means})
    rows: dict[str, list[float]] = {pair: [] for pair in dict.fromkeys(place.rpartition("/")[0] for place in means)}
    for pair, own in rows.items():
        own += [means.get(f"{pair}/{layer}", float("nan")) for layer in layers]
    caption = (
        "The mean cosine of two tasks' gradients in each layer of the encoder, over the looks of the whole training: orange, below 0, where "
        "they are at odds."
    )
    return layer_map("Where tasks meet", caption, rows, [layer_title(layer) for layer in layers])


def _cosine_chart(cosines: Mapping[str, Curve]) -> Figure:
    """Cosines over the steps; of many tasks only the pairs that are most at odds."""
    caption = (
        "Whether two tasks want the shared encoder to move the same way: 1 is the same direction, 0 means that they do not "
        "mind each other, below 0 one undoes what the other does. Gradient surgery acts where a curve is below 0."
    )
    if len(tasks_of(cosines)) >= MANY_TASKS and len(cosines) > _CURVES:
        means = mean_cosines(cosines)
        caption += f" Of the {len(cosines)} pairs these are the {_CURVES} that are most at odds on average."
        worst = sorted(cosines, key=lambda pair: np.nan_to_num(means[pair], nan=2.0))[:_CURVES]
        cosines = {pair: cosines[pair] for pair in worst}
    return line_chart("Agreement of the tasks' gradients", caption, cosines, "cosine", zero=True, smooth=True)


def mean_cosines(cosines: Mapping[str, Curve]) -> dict[str, float]:
    """Pair of tasks to the mean of its finite cosines over the records, not a number where there is none."""
    finite = {pair: [value for value in values if np.isfinite(value)] for pair, (_, values) in cosines.items()}
    return {pair: float(np.mean(values)) if values else float("nan") for pair, values in finite.items()}


def constant_weights(source: Source) -> str | None:
    """The weight of each task in words where none of them ever changes; None otherwise, or where none is known."""
    weights = curves(source.train, "combination/weight/")
    if not weights or any(min(values) != max(values) for _, values in weights.values()):
        return None
    if {values[0] for _, values in weights.values()} == {1.0}:
        return "all 1"
    return ", ".join(f"{task} {values[0]:.3g}" for task, (_, values) in weights.items())
