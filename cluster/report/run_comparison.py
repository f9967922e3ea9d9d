"""Several runs side by side."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cluster.report.drawing import Figure
from cluster.report.line_chart import Curve, curves, line_chart
from cluster.report.source import Source


@dataclass(frozen=True)
class Row:
    """A dev score in each run, None where a run has none; `best`: the places of the highest."""

    name: str
    values: list[float | None]
    best: frozenset[int]


@dataclass(frozen=True)
class Comparison:
    """`names` of the runs, their scores, what differs between their configs, and curves over each other."""

    names: list[str]
    scores: list[Row]
    differences: list[tuple[str, list[str]]]
    figures: list[Figure]


def compare_sources(sources: Sequence[Source]) -> Comparison:
    """Put runs side by side."""
    names = _distinct([source.name for source in sources])
    keys = list(dict.fromkeys(key for source in sources for key in source.scores))
    return Comparison(names, [_row(key, sources) for key in keys], _differences(sources), _figures(names, sources))


def _distinct(names: list[str]) -> list[str]:
    return [f"{name} ({index + 1})" if names.count(name) > 1 else name for index, name in enumerate(names)]


def _row(key: str, sources: Sequence[Source]) -> Row:
    values = [source.scores.get(key) for source in sources]
    return Row(key.removeprefix("dev/").replace("/", " "), values, best_places(values))


def best_places(values: Sequence[float | None]) -> frozenset[int]:
    """Where the highest of the finite values stands, once or more often."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    return frozenset(place for place, value in enumerate(values) if value in known and value == max(known))


def _differences(sources: Sequence[Source]) -> list[tuple[str, list[str]]]:
    """Keys whose values are not the same in all configs; what names and places a run is left out."""
    flat = [_flatten(source.config.trajectory()) for source in sources]
    keys = list(dict.fromkeys(key for tree in flat for key in tree))
    rows = [(key, [tree.get(key, "") for tree in flat]) for key in keys]
    return [(key, values) for key, values in rows if len(set(values)) > 1]


def _flatten(value: Any, path: str = "") -> dict[str, str]:
    if isinstance(value, dict) and value:
        return {k: v for key, own in value.items() for k, v in _flatten(own, f"{path}.{key}" if path else key).items()}
    if isinstance(value, list) and any(isinstance(own, dict) for own in value):
        return {k: v for index, own in enumerate(value) for k, v in _flatten(own, f"{path}.{index}").items()}
    return {path: "" if value is None else str(value)}


def _figures(names: list[str], sources: Sequence[Source]) -> list[Figure]:
    keys = ["mean"] if all("dev/mean" in source.scores for source in sources) else []
    for source in sources:
        for task in source.config.scored_tasks:
            keys.append(f"{task}/{source.config.tasks[task].selection_metric}")
    figures = []
    for key in dict.fromkeys(keys):
        lines: dict[str, Curve] = {}
        for name, source in zip(names, sources, strict=True):
            if (curve := curves(source.dev, "dev/").get(key)) is not None:
                lines[name] = curve
        if lines:
            title = "Mean dev score" if key == "mean" else f"Dev score: {key.replace('/', ' by ')}"
            caption = (
                "Each line is a run; the higher, the better. Steps are the same only where runs have equal batches."
            )
            figures.append(line_chart(title, caption, lines, "score", names))
    return figures
