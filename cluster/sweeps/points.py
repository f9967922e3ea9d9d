"""Points that the user wants a sweep to try: from a file, or those that are enqueued in an Optuna study."""

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.sweeps.create import OpenedSweep, with_tries
from cluster.sweeps.optuna_storage import optuna_storage, study_called, without_password
from cluster.sweeps.search import Search, parameter_names
from multitask.config.yaml_text import read_document, read_value
from multitask.errors import UserError
from tune_spaces.core.distributions import untold_sample

_FILES = (".yaml", ".yml", ".json", ".csv")
_COLUMN = "sample."


@dataclass(frozen=True)
class Point:
    """Values by parameter, and where they come from, for messages."""

    source: str
    values: dict[str, Any]


@dataclass(frozen=True)
class Enqueued:
    """What became of points: the samples that will be tried, and how many of the points were, or will be, tried anyway."""

    samples: tuple[dict[str, Any], ...]
    known: int


def read_points(source: str, study: str | None, parameters: Mapping[str, Mapping[str, Any]]) -> list[Point]:
    """The points of a file `*.yaml`, `*.json` or `*.csv`, or the enqueued trials of an Optuna study.

    A YAML or JSON file is a list of mappings, or has one under `points`; a CSV file has parameters as columns, or as
    `sample.<name>` beside others, as `concord sweep trials` writes it. `study`: the study's name; its storage's only one
    if not given. `parameters`: descriptions of the space's.

    Raises:
        UserError: the file or the study cannot be read, or holds no points.
    """
    if Path(source).suffix in _FILES and "://" not in source:
        if study is not None:
            raise UserError(f"--study {study}: {source} is a file of points, no Optuna storage")
        points = list(_csv_points(source) if source.endswith(".csv") else _listed_points(source))
    else:
        points = _study_points(source, study, parameters)
    if not points:
        raise UserError(f"{without_password(source)}: there are no points in it")
    return points


def enqueue_points(opened: OpenedSweep, points: list[Point]) -> Enqueued:
    """Let the opened sweep try these points, before it goes on searching.

    Raises:
        UserError: a point cannot be trained, or the sweep is a population.
    """
    sweep = opened.sweep
    if sweep.options.scheduler == "pbt":
        raise UserError(f"sweep {sweep.name} trains a population, which begins as a whole: no point can be added to it")
    samples = [_sample(point, opened.search) for point in points]
    changed = with_tries(sweep, opened.search.space, samples)
    opened.store.write_plan(changed)
    new = changed.tries[len(sweep.tries) :]
    return Enqueued(new, len(points) - len(new))


def _sample(point: Point, search: Search) -> dict[str, Any]:
    """The point as a sample of the space, which its config can be trained with."""
    names = parameter_names(search.space)
    try:
        sample = search.space.active({names.get(key, key): value for key, value in point.values.items()})
        search.space.config(search.base, sample)
    except UserError as error:
        raise UserError(f"{point.source}: {error}") from None
    return sample


def _listed_points(source: str) -> Iterator[Point]:
    try:
        tree = json.loads(Path(source).read_text("utf-8")) if source.endswith(".json") else read_document(Path(source))
    except UserError:
        raise
    except (OSError, ValueError) as error:
        raise UserError(f"{source} cannot be read: {str(error).splitlines()[0]}") from None
    listed = tree.get("points") if isinstance(tree, dict) else tree
    if not isinstance(listed, list) or not all(isinstance(values, dict) for values in listed):
        raise UserError(f"{source}: points are a list of mappings, parameter to value")
    for number, values in enumerate(listed, start=1):
        yield Point(f"{source}, point {number}", {str(key): value for key, value in values.items()})


def _csv_points(source: str) -> Iterator[Point]:
    try:
        with open(source, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{source} cannot be read: {error}") from None
    columns = list(rows[0]) if rows else []
    ours = [column for column in columns if column and column.startswith(_COLUMN)] or columns
    for line, row in enumerate(rows, start=2):
        cells = {column: row[column] for column in ours if column and row[column]}
        if cells and row.get("role", "sample") in ("recipe", "sample"):
            values = {column.removeprefix(_COLUMN): read_value(cell) for column, cell in cells.items()}
            yield Point(f"{source}, line {line}", values)


def _study_points(source: str, study: str | None, parameters: Mapping[str, Mapping[str, Any]]) -> list[Point]:
    from optuna.trial import TrialState

    with optuna_storage(source, new=False) as storage:
        enqueued = study_called(study, storage, source).get_trials(states=(TrialState.WAITING,))
    shown = f"storage {without_password(source)}"
    return [
        Point(f"{shown}, trial {trial.number}", untold_sample(params, parameters))
        for trial in enqueued
        if (params := trial.system_attrs.get("fixed_params") or trial.params)
    ]
