"""The sections of a sweep's W&B workspace.

What a run holds is addressed as W&B does: a metric by its name, its best value by `<metric>.max` in the summary, a config
key by its path.
"""

from typing import TYPE_CHECKING, Any

from cluster.sweeps.records import Sweep
from cluster.tracking.conflict_panels import CONFLICTS, LAYERS, pair_curves
from cluster.tracking.run_panels import MATRIX_CHART, MATRIX_FIELDS
from multitask.config import RunConfig

if TYPE_CHECKING:
    import wandb_workspaces.workspaces as ws
    from wandb_workspaces.reports.v2 import interface as wr

BEST = "dev/mean.max"
PARTS = (
    "start",
    "data",
    "forward/backward",
    "communicate",
    "combine",
    "optimizer",
    "regularization",
    "evaluate",
    "save",
)


def sections(sweep: Sweep, recipe: RunConfig) -> "list[ws.Section]":
    """Dev curves, parameters, conflicts, confusion and cost, the first two open."""
    import wandb_workspaces.workspaces as ws

    panels: dict[str, list[Any]] = {
        "dev scores": dev_curves(recipe),
        "parameters": [_parallel_coordinates(sweep), _importance()],
        "conflicts between tasks": conflicts(recipe),
        "confusion": [_matrix(f"confusion/{task}", task) for task in classified(recipe)],
        "cost": cost(),
    }
    opened = ("dev scores", "parameters")
    return [ws.Section(name=name, panels=own, is_open=name in opened) for name, own in panels.items() if own]


def dev_curves(recipe: RunConfig) -> "list[wr.LinePlot]":
    """The mean and each task's metrics, over training rows, which mean the same in every trial, and the mean over steps."""
    curves = [_line("dev/mean", ["dev/mean"], "train/rows"), _line("dev/mean by step", ["dev/mean"], "step")]
    for task in recipe.scored_tasks:
        own = recipe.tasks[task]
        names = [f"{split}/{task}/{metric}" for split in own.dev_sets for metric in own.metrics]
        if recipe.training.score_train_rows is not None:
            names += [name.replace("dev/", "train/", 1) for name in names]
        curves.append(_line(task, names, "train/rows"))
    return curves


def conflicts(recipe: RunConfig) -> "list[wr.CustomChart | wr.LinePlot]":
    """The heat map of the cosines between the tasks' gradients, the course of those of few tasks, and the gradients' lengths."""
    if len(recipe.tasks) < 2:
        return []
    heat: list[wr.CustomChart | wr.LinePlot] = [_matrix(CONFLICTS, "cosine between gradients")]
    if recipe.training.layer_conflicts_every is not None:
        heat.append(_matrix(LAYERS, "cosine between gradients in each layer"))
    pairs = pair_curves(recipe.tasks)
    norms = [f"combination/norm/{task}" for task in recipe.tasks]
    curves = {"cosines": pairs, "conflict rate": ["combination/conflict_rate"], "gradient norms": norms}
    return [*heat, *(_line(title, names, "train/rows") for title, names in curves.items() if names)]


def classified(recipe: RunConfig) -> list[str]:
    """The tasks with a confusion matrix."""
    return [task for task in recipe.scored_tasks if "accuracy" in recipe.tasks[task].metrics]


def cost() -> "list[wr.LinePlot | wr.BarPlot]":
    """Speed over training, and where the seconds went."""
    from wandb_workspaces.reports.v2 import interface as wr

    speed = _line("tokens per second", ["throughput/tokens_per_s"], "train/rows")
    padding = _line("padding", ["throughput/padding"], "train/rows")
    device = _line("share of the peak", ["throughput/mfu"], "train/rows")
    memory = _line("peak memory, GiB", ["throughput/peak_memory_gib"], "train/rows")
    slowest = _line("slowest rank over the mean", ["throughput/slowest_over_mean"], "train/rows")
    seconds = wr.BarPlot(title="seconds by part", metrics=[f"seconds/{part}" for part in PARTS], title_x="seconds")
    return [speed, padding, device, memory, slowest, seconds]


def _line(title: str, names: list[str], x: str) -> "wr.LinePlot":
    from wandb_workspaces.reports.v2 import interface as wr

    return wr.LinePlot(title=title, x=x, y=list(names))


def _parallel_coordinates(sweep: Sweep) -> "wr.ParallelCoordinatesPlot":
    from wandb_workspaces.reports.v2 import interface as wr

    columns = [
        wr.ParallelCoordinatesPlotColumn(
            metric=wr.Config(f"sample.{name}"), display_name=name, log=bool(about.get("log")) or None
        )
        for name, about in sweep.space["parameters"].items()
    ]
    best = wr.ParallelCoordinatesPlotColumn(metric=wr.SummaryMetric(BEST), display_name="best dev/mean")
    return wr.ParallelCoordinatesPlot(title="parameters to dev/mean", columns=[*columns, best])


def _importance() -> "wr.ParameterImportancePlot":
    from wandb_workspaces.reports.v2 import interface as wr

    return wr.ParameterImportancePlot(with_respect_to=BEST)


def _matrix(key: str, title: str) -> "wr.CustomChart":
    """The heat map that runs logged as `key`; its rows are a table called `<key>_table`."""
    from wandb_workspaces.reports.v2 import interface as wr

    return wr.CustomChart(
        query={"summaryTable": {"tableKey": f"{key}_table"}},
        chart_name=MATRIX_CHART,
        chart_fields={name: name for name in MATRIX_FIELDS},
        chart_strings={"title": title},
    )
