"""The run as plain lines, for log files and pipes."""

from collections.abc import Iterator
from typing import Any

from rich.console import Console, RenderableType

from cluster.step.clock import clock
from cluster.terminal.run_pace import Progress
from cluster.terminal.run_tables import (
    closing_lines,
    closing_table,
    closing_title,
    dev_table,
    dev_title,
    heading,
    number,
    opening_lines,
    skipped,
    speed,
    start_table,
)
from cluster.training.observer import Outcome, RunInfo
from multitask.score_names import is_dev_score


class PlainLines:
    """One line for each report and an aligned table for each evaluation, without control characters."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress: Progress | None = None

    def start(self, run: RunInfo) -> None:
        """Print the run and its tasks; after a restart only where it goes on."""
        if restarted := self._progress is not None:
            self._progress.restart(run)
        else:
            self._progress = Progress(run)
            self._print(heading(run))
            self._print(start_table(run))
        for line in opening_lines(run, restarted):
            self._print(line)

    def report(self, metrics: dict[str, Any]) -> None:
        """Print the training record, then the dev scores, each if it is there."""
        if self._progress is None:
            return
        self._progress.update(metrics)
        if "train/rows" in metrics:
            self._print("  ".join(_parts(self._progress, metrics)))
        if any(is_dev_score(key) for key in metrics):
            self._print(dev_title(self._progress))
            self._print(dev_table(self._progress))

    def finish(self, outcome: Outcome) -> None:
        """Print how it ended, before and after, and where everything is."""
        print_closing(self._console, self._progress, outcome)

    def _print(self, what: RenderableType) -> None:
        self._console.print(what, soft_wrap=True, markup=False, highlight=False)


def print_closing(console: Console, progress: Progress | None, outcome: Outcome) -> None:
    """Print the end of a run: the title, the scores before and after, and the places, whose paths are never broken."""
    if progress is None:
        console.print(f"{outcome.status}: {outcome.error or 'before the first report'}", markup=False, highlight=False)
        return
    console.print(closing_title(progress.run, outcome, progress), soft_wrap=True)
    if outcome.dev:
        console.print(closing_table(progress.run, outcome), soft_wrap=True)
    places = list(closing_lines(progress.run, outcome))
    width = max((len(label) for label, _ in places), default=0)
    for label, text in places:
        console.print(f"{label:<{width}}  {text}", soft_wrap=True, markup=False, highlight=False)


def _parts(progress: Progress, metrics: dict[str, Any]) -> Iterator[str]:
    """The phrases of one line: step, epoch, the loss of each task, speed, time left."""
    yield f"step {progress.step}/{progress.run.total_steps}"
    yield f"epoch {metrics.get('epoch', 0):.2f}"
    for task in progress.run.tasks:
        if (loss := metrics.get(f"train/loss/{task}")) is not None:
            yield f"{task} {number(loss)}"
    yield from speed(metrics)
    yield from skipped(metrics)
    yield f"ETA {clock(progress.seconds_left)}"
