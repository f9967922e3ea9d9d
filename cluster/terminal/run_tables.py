"""The tables and phrases that the live view and the plain lines share."""

from collections.abc import Iterator
from typing import Any

from rich.table import Table
from rich.text import Text

from cluster.step.clock import clock
from cluster.terminal.run_pace import Progress
from cluster.training.observer import Outcome, RunInfo


def heading(run: RunInfo) -> Text:
    """Name, workers, device and folder on one line."""
    text = Text(run.name, style="bold", overflow="ellipsis")
    workers = "1 worker" if run.workers == 1 else f"{run.workers} workers"
    text.append(f"  {workers}  {run.device}  {run.total_steps:,} steps", "default")
    return text.append(f"  {run.folder}", "dim")


def opening_lines(run: RunInfo, restarted: bool) -> Iterator[str]:
    """Where the run goes on, if it is not fresh, and what was wrong with its files."""
    if restarted:
        yield f"the workers were restarted; going on from step {run.resumed_step:,}"
    elif run.resumed_step:
        yield f"going on from step {run.resumed_step:,}"
    yield from run.notes


def start_table(run: RunInfo) -> Table:
    """The tasks and their sizes, one line for each."""
    cut = any(about["cut_rows"] for about in run.tasks.values())
    table = _table("task", "kind", "metric", "train rows", *(["of them cut"] if cut else []), "dev rows", left=3)
    for task, about in run.tasks.items():
        numbers = [about["train_rows"], *([about["cut_rows"]] if cut else []), about["dev_rows"]]
        table.add_row(task, about["kind"], about["metric"], *(f"{number:,}" for number in numbers))
    return table


def task_table(progress: Progress) -> Table:
    """Each task's smoothed loss, share of the steps, weight, and last dev score with its change."""
    table = _table("task", "loss", "share", "weight", "dev", "score", "change")
    for task, about in progress.run.tasks.items():
        key = f"dev/{task}/{about['metric']}"
        table.add_row(
            task,
            number(progress.losses[task].value),
            percent(progress.latest.get(f"train/share/{task}")),
            number(progress.latest.get(f"combination/weight/{task}"), 2),
            about["metric"],
            number(progress.dev.get(key)),
            change(progress.dev.get(key), progress.previous_dev.get(key)),
        )
    return table


def dev_table(progress: Progress) -> Table:
    """The dev scores of the latest evaluation: each task's own metric, its change, and its other metrics."""
    table = _table("task", "metric", "score", "change", "others", left=2)
    table.columns[-1].justify, table.columns[-1].no_wrap = "left", False
    for task, key, others in _scores(progress.run, progress.dev):
        rest = "  ".join(f"{_metric(other)} {number(progress.dev[other])}" for other in others)
        score, before = progress.dev.get(key), progress.previous_dev.get(key)
        table.add_row(task, _metric(key), number(score), change(score, before), Text(rest, "dim"))
    return table


def dev_title(progress: Progress) -> Text:
    """Which evaluation it is, and whether it is the best so far."""
    text = Text(f"dev scores at step {progress.step:,}  epoch {progress.latest.get('epoch', 0):.2f}")
    return text.append("  best so far", "bold green") if progress.latest.get("dev/best") else text


def closing_table(run: RunInfo, outcome: Outcome) -> Table:
    """The dev scores before and after training; only those after if the others were not taken."""
    columns = ("before", "after", "change") if outcome.baseline_dev else ("score",)
    table = _table("task", "metric", *columns, left=2)
    for task, key, others in _scores(run, outcome.dev):
        for name in (key, *others):
            before, after = outcome.baseline_dev.get(name), outcome.dev.get(name)
            row = (number(before), number(after), change(after, before)) if outcome.baseline_dev else (number(after),)
            table.add_row(task if name == key else "", _metric(name), *row)
    return table


def closing_title(run: RunInfo, outcome: Outcome, progress: Progress) -> Text:
    """How the run ended, after how many steps and how long."""
    style = {"finished": "bold green", "stopped": "bold yellow", "interrupted": "bold yellow", "failed": "bold red"}[
        outcome.status
    ]
    text = Text(run.name, "bold").append(f"  {outcome.status}", style)
    text.append(f" at step {progress.step:,}/{run.total_steps:,} after {clock(progress.elapsed)}", "default")
    if outcome.tokens_per_s is not None:
        text.append(f"  {outcome.tokens_per_s:,.0f} tok/s", "default")
    return text.append(f"\n{outcome.error}", style) if outcome.error else text


def closing_lines(run: RunInfo, outcome: Outcome) -> Iterator[tuple[str, str]]:
    """What was best, what the time went into, and where everything is: label and text."""
    if outcome.best_step is not None:
        score = f"{outcome.selection} {number(outcome.best_score, 4)} " if outcome.best_score is not None else ""
        yield "best", f"{score}at step {outcome.best_step:,}"
    if outcome.seconds:
        yield "time", "  ".join(f"{part} {clock(seconds)}" for part, seconds in outcome.seconds.items())
    yield from (("note", note) for note in outcome.notes)
    yield from outcome.files.items()
    if "export" not in outcome.files and outcome.best_step is not None:
        yield "to export", f"concord export {run.folder}"


def speed(latest: dict[str, Any]) -> Iterator[str]:
    """Throughput, padding and the share of the peak, as far as they are known."""
    if (tokens := latest.get("throughput/tokens_per_s")) is not None:
        yield f"{tokens:,.0f} tok/s"
    if (padding := latest.get("throughput/padding")) is not None:
        yield f"pad {100 * padding:.1f} %"
    if (share := latest.get("throughput/mfu")) is not None:
        yield f"MFU {100 * share:.1f} %"


def skipped(latest: dict[str, Any]) -> Iterator[str]:
    """The steps whose gradients were not finite, if there are any."""
    if steps := latest.get("train/skipped_steps"):
        yield f"skipped {steps:,.0f}"


def number(value: float | None, digits: int = 3) -> str:
    """The value with fixed digits; a dash if there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def percent(fraction: float | None) -> str:
    """The fraction in whole percent; a dash if there is none."""
    return "-" if fraction is None else f"{100 * fraction:.0f} %"


def change(score: float | None, before: float | None) -> Text:
    """The signed difference, green if the score rose; empty if one is missing."""
    if score is None or before is None:
        return Text("")
    difference = round(score - before, 3) + 0.0  # a rounded -0.0 is no fall
    return Text(f"{difference:+.3f}", "green" if difference > 0 else "red" if difference < 0 else "")


def _table(*names: str, left: int = 1) -> Table:
    """A table without frame whose first `left` columns hold words and whose others hold numbers."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for index, name in enumerate(names):
        table.add_column(name, justify="left" if index < left else "right", no_wrap=True)
    return table


def _scores(run: RunInfo, dev: dict[str, float]) -> Iterator[tuple[str, str, list[str]]]:
    """Each dev set of each scored task with the key of the task's own metric and those of its other ones; the mean comes last."""
    splits = dict.fromkeys(key.split("/")[0] for key in dev)
    for task, about in run.tasks.items():
        for split in splits:
            own, keys = f"{split}/{task}/{about['metric']}", [key for key in dev if key.startswith(f"{split}/{task}/")]
            if keys:
                yield task if split == "dev" else f"{task} {split}", own, [key for key in keys if key != own]
    if "dev/mean" in dev:
        yield "mean", "dev/mean", []


def _metric(key: str) -> str:
    return key.split("/")[2] if key.count("/") > 1 else ""
