"""The figures of one run."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cluster.report.drawing import CELL, INK, SERIES, Figure, add_legend, draw
from cluster.report.line_chart import Curve, curves, line_chart
from cluster.report.source import Source

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WRITTEN_CLASSES = 20
_NAMED_CLASSES = 12


def training_figures(source: Source) -> list[Figure]:
    """Losses, dev scores, learning rate."""
    figures, tasks = [], [*source.config.tasks, "mean"]
    if losses := curves(source.train, "train/loss/"):
        caption = (
            "How wrong the model is on the rows it trains on, averaged over the steps between two records. It should fall. "
            "Losses of different tasks have different scales and are not to be compared with each other."
        )
        figures.append(line_chart("Training loss of each task", caption, losses, "loss", tasks, smooth=True))
    own = {task: source.config.tasks[task].selection_metric for task in source.config.scored_tasks}
    dev = {
        task: curve
        for task, metric in own.items()
        if (curve := curves(source.dev, f"dev/{task}/").get(metric)) is not None
    }
    if dev:
        if (mean := curves(source.dev, "dev/").get("mean")) is not None and len(dev) > 1:
            dev["mean"] = mean
        caption = (
            "How well the model does on rows it never trains on: "
            + ", ".join(f"{task} by {metric.replace('_', ' ')}" for task, metric in own.items())
            + ". Higher is better. Where a curve falls while its training loss falls too, the model learns by heart."
        )
        figures.append(line_chart("Dev score of each task", caption, dev, "score", tasks))
    figures += [line_chart(*found) for task in own if (found := _learned_by_heart(source, task, own[task])) is not None]
    if terms := curves(source.train, "train/regularization/"):
        caption = "What regularization adds to the loss of each task. Small beside the losses above means that it hardly acts."
        figures.append(line_chart("Regularization", caption, terms, "added loss", tasks, smooth=True))
    if rate := curves(source.train, "train/lr"):
        caption = "The learning rate of each step: how far one step may move the weights."
        figures.append(line_chart("Learning rate", caption, {"learning rate": rate[""]}, "rate"))
    return figures


def _learned_by_heart(source: Source, task: str, metric: str) -> tuple[str, str, dict[str, Curve], str] | None:
    """What the chart of a task's scores on training and dev rows takes; None without any on training rows."""
    lines = {
        f"{split} rows": curve
        for split in ("train", "dev")
        if (curve := curves(source.dev, f"{split}/{task}/").get(metric)) is not None
    }
    if "train rows" not in lines:
        return None
    caption = (
        f"By {metric.replace('_', ' ')}; the same {source.config.training.score_train_rows:,} training rows, or all that there are, in "
        "every evaluation. The distance between the curves is what is learned by heart."
    )
    return f"{task}: score on training and dev rows", caption, lines, "score"


def confusion_figure(task: str, table: Mapping[str, Any], *, ordered: bool) -> Figure:
    """Counts by true and predicted class; shades are shares of the true class. Of `ordered` classes also how errors lie."""
    matrix = np.array(table["matrix"], dtype=float)
    count = len(matrix)
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)

    def paint(axes: "Axes") -> None:
        for (i, j), share in np.ndenumerate(shares):
            axes.add_patch(_square(j, i, share))
            if count <= _WRITTEN_CLASSES:
                axes.text(j, i, f"{int(matrix[i, j]):,}", ha="center", va="center", fontsize=min(9, 80 / count))
        axes.set(xlim=(-0.5, count - 0.5), ylim=(count - 0.5, -0.5), aspect="equal")
        axes.set_yticks(*_name_classes(axes, table["labels"]))
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")

    caption = (
        "Each row holds the dev rows of one true class, each column those that were predicted as one class. Right ones lie on the "
        "diagonal. The stronger the colour, the larger the share of the true class."
    ) + (estimates(table["matrix"]) if ordered else "")
    return draw(f"{task}: predicted against true classes", caption, paint, height=3.2)


def estimates(matrix: Sequence[Sequence[int]]) -> str:
    """How many rows of classes in order, by true and predicted class, were judged too high and too low."""
    counts = np.array(matrix, dtype=int)
    over, under = int(np.triu(counts, 1).sum()), int(np.tril(counts, -1).sum())
    far = int(np.triu(counts, 2).sum() + np.tril(counts, -2).sum())
    return (
        f" Right of it, {over:,} rows are over-estimated; left of it, {under:,} under-estimated; "
        f"{far:,} in all by more than one class."
    )


def _square(x: int, y: int, share: float) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x - 0.48, y - 0.48), 0.96, 0.96, color=CELL, alpha=round(0.04 + 0.7 * float(share), 3), lw=0)


def _name_classes(axes: "Axes", labels: Sequence[str]) -> tuple[list[int], list[str]]:
    """Put names at the x axis and return their places and them: of many classes only some, long ones cut and slanted."""
    places = list(range(0, len(labels), -(-len(labels) // _NAMED_CLASSES)))
    names = [labels[place] if len(labels[place]) <= 16 else labels[place][:15] + "…" for place in places]
    axes.set_xticks(places, names)
    if sum(map(len, names)) > 36:
        for text in axes.get_xticklabels():
            text.set(rotation=40, ha="right", rotation_mode="anchor")
    return places, names


def class_figure(task: str, table: Mapping[str, Any]) -> Figure:
    """How often each class is true and how often it is predicted."""
    matrix = np.array(table["matrix"], dtype=float)
    places = np.arange(len(matrix))

    def paint(axes: "Axes") -> None:
        true = axes.bar(places - 0.2, matrix.sum(1), 0.38, color=SERIES[0])
        predicted = axes.bar(places + 0.2, matrix.sum(0), 0.38, color=SERIES[1])
        _name_classes(axes, table["labels"])
        axes.set_xlabel("class")
        axes.set_ylabel("dev rows")
        add_legend(axes, [true[0], predicted[0]], ["true", "predicted"])

    caption = "How often each class is true, and how often the model says so. " + _most_wrong(table["labels"], matrix)
    return draw(f"{task}: over- and under-predicted classes", caption, paint)


def _most_wrong(labels: Sequence[str], matrix: np.ndarray) -> str:
    """The classes that are predicted too often and too seldom, in words."""
    surplus = matrix.sum(0) - matrix.sum(1)
    if not surplus.any():
        return "Each class is predicted as often as it is true."
    over, under = int(surplus.argmax()), int(surplus.argmin())
    return (
        f"Most over-predicted: {labels[over]} ({int(surplus[over]):+,} rows); "
        f"most under-predicted: {labels[under]} (−{-int(surplus[under]):,} rows)."
    )


def scatter_figure(task: str, table: Mapping[str, Any], correlation: float | None) -> Figure:
    """Predictions over labels, with the line on which they agree."""
    values = np.array(table["rows"], dtype=float)
    values = values[np.isfinite(values).all(1)]
    known = correlation is not None and np.isfinite(correlation)

    def paint(axes: "Axes") -> None:
        ends = [float(values.min()), float(values.max())] if len(values) else [0.0, 1.0]
        axes.plot(ends, ends, color=INK, linewidth=0.8, linestyle=":")
        axes.scatter(values[:, 0], values[:, 1], s=7, color=SERIES[0], alpha=0.45, linewidths=0)
        words = f"Pearson r = {correlation:.3f}" if known else "Pearson r unknown"
        axes.text(0, 1.02, words, transform=axes.transAxes, va="bottom")
        axes.set_xlabel("label")
        axes.set_ylabel("prediction")

    caption = (
        "Each dot is a dev row. On the line, prediction and label agree. The correlation r is 1 where the predictions put all "
        "rows in the right order and proportion, 0 where they say nothing."
    )
    return draw(f"{task}: predictions against labels", caption, paint, height=3.2)


def cost_figure(seconds: Mapping[str, float]) -> Figure:
    """Seconds by part of the run."""
    parts = {part: value for part, value in seconds.items() if value > 0}
    order = sorted(parts, key=lambda part: parts[part])

    def paint(axes: "Axes") -> None:
        bars = axes.barh(order, [parts[part] for part in order], color=SERIES[0])
        axes.bar_label(bars, [f"{parts[part]:,.1f}" for part in order], padding=3)
        axes.set_xlabel("seconds")
        axes.margins(x=0.15)

    caption = (
        "Where the time went, on the first worker since the last start. “communicate” and “combine” are what gradient surgery "
        "costs beside plain training."
    )
    return draw("Seconds by part", caption, paint, height=0.9 + 0.22 * len(parts))
