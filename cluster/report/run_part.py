"""What the page shows of one run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from cluster.report.device_facts import device_facts
from cluster.report.drawing import Figure
from cluster.report.figures import class_figure, confusion_figure, cost_figure, scatter_figure, training_figures
from cluster.report.gradient_figures import constant_weights, gradient_figures
from cluster.report.source import Source
from multitask.config.kind import Classification

_ERRORS = {
    "worst": "Worst errors",
    "false_positives": "False positives: said yes, the label is no; the surest first",
    "false_negatives": "False negatives: said no, the label is yes; the surest first",
}


@dataclass(frozen=True)
class Score:
    """One dev score: before training (None if not measured), and at the best checkpoint."""

    task: str
    metric: str
    before: float | None
    after: float
    is_selected: bool


@dataclass(frozen=True)
class ErrorTable:
    """Rows with text, each (id, text, second text, label, prediction), out of `total` (None where every row has an error)."""

    title: str
    rows: Sequence[Sequence[Any]]
    is_pair: bool
    total: int | None


@dataclass(frozen=True)
class TaskPart:
    """What is shown of one task."""

    name: str
    about: str
    figures: list[Figure] = field(default_factory=list)
    errors: list[ErrorTable] = field(default_factory=list)


@dataclass(frozen=True)
class RunPart:
    """What is shown of one run."""

    source: Source
    facts: dict[str, str]
    scores: list[Score]
    has_baseline: bool
    training: list[Figure]
    gradients: list[Figure]
    tasks: list[TaskPart]
    cost: list[Figure]
    config: str


def run_part(source: Source) -> RunPart:
    """What is shown of the run or export `source`."""
    seconds = source.result.get("seconds", {})
    scores = _scores(source)
    return RunPart(
        source=source,
        facts=_facts(source),
        scores=scores,
        has_baseline=any(score.before is not None for score in scores),
        training=training_figures(source),
        gradients=gradient_figures(source),
        tasks=[
            part for task in source.config.scored_tasks if (part := _task_part(source, task)).figures or part.errors
        ],
        cost=[cost_figure(seconds)] if any(seconds.values()) else [],
        config=yaml.safe_dump(source.config.to_public(), sort_keys=False, allow_unicode=True, width=88),
    )


def _facts(source: Source) -> dict[str, str]:
    config, result = source.config, source.result
    phases = "; then ".join(phase.sampling.name.replace("_", " ") for phase in config.phases)
    facts = {
        "encoder": config.encoder.name,
        "sampling": phases,
        "combination": config.combination.name.replace("_", " "),
        "optimizer": f"{config.optimizer.name}, learning rate {config.optimizer.lr:g}",
        "seed": str(config.seed),
    }
    if (weights := constant_weights(source)) is not None:
        facts["task weights"] = weights
    facts |= device_facts(source.train)
    if result:
        facts |= {
            "status": str(result["status"]),
            "steps": f"{result['step']:,} of {result['steps']:,}, best at {_number(result['best_step'])}",
            "workers": str(result["workers"]),
            "tokens per second": _number(result.get("tokens_per_s")),
        }
        if result.get("skipped_steps"):
            facts["skipped steps"] = f"{result['skipped_steps']} (a loss or gradient was not finite)"
        if result.get("overflowed_steps"):
            facts["overflowed steps"] = f"{result['overflowed_steps']} (left out, they lowered the loss scale)"
    return facts


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,.0f}"


def _scores(source: Source) -> list[Score]:
    before: Mapping[str, float] = source.result.get("baseline", {})
    found = []
    for key, value in source.scores.items():
        split, task, *metric = key.split("/")
        if metric:
            own, place = source.config.tasks[task].selection_metric, task if split == "dev" else f"{task} ({split})"
            found.append(Score(place, metric[0], before.get(key), value, metric[0] == own))
    if "dev/mean" in source.scores:
        found.append(Score("mean", "", before.get("dev/mean"), source.scores["dev/mean"], True))
    return found


def _task_part(source: Source, task: str) -> TaskPart:
    config, tables = source.config.tasks[task], source.tables
    figures = []
    if (confusion := tables.get(f"confusion/{task}")) is not None:
        ordered = isinstance(config.kind, Classification) and config.kind.ordered
        figures += [confusion_figure(task, confusion, ordered=ordered), class_figure(task, confusion)]
    if (scatter := tables.get(f"scatter/{task}")) and scatter["rows"]:
        figures.append(scatter_figure(task, scatter, source.scores.get(f"dev/{task}/pearson")))
    pairs = f", {config.pair_encoding.name.replace('_', '-')} pairs" if config.pair_encoding else ""
    return TaskPart(task, f"{config.kind.name}{pairs}", figures, _error_tables(task, config.is_pair, tables))


def _error_tables(task: str, is_pair: bool, tables: Mapping[str, Any]) -> list[ErrorTable]:
    """Binary tasks have one for each way to be wrong, others one in all."""
    wanted = ("false_positives", "false_negatives") if f"false_positives/{task}" in tables else ("worst",)
    confusion = tables.get(f"confusion/{task}")
    found = []
    for name in wanted:
        if (table := tables.get(f"{name}/{task}")) is not None:
            rows = [_named(row, confusion["labels"]) if confusion else row for row in table["rows"]]
            found.append(
                ErrorTable(_ERRORS[name], rows, is_pair, _total(name, confusion["matrix"]) if confusion else None)
            )
    return found


def _named(row: Sequence[Any], labels: Sequence[str]) -> list[Any]:
    """The row with the names of its classes instead of their numbers."""
    *texts, label, prediction = row
    return [*texts, labels[int(label)], labels[int(prediction)]]


def _total(name: str, matrix: Sequence[Sequence[int]]) -> int:
    """How many rows are wrong in this way."""
    if name == "worst":
        return sum(map(sum, matrix)) - sum(row[place] for place, row in enumerate(matrix))
    return matrix[0][1] if name == "false_positives" else matrix[1][0]
