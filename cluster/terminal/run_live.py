"""The run as a live view at the foot of a terminal."""

from collections.abc import Iterator
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cluster.step.clock import clock
from cluster.terminal.run_lines import print_closing
from cluster.terminal.run_pace import Progress
from cluster.terminal.run_tables import (
    dev_table,
    dev_title,
    heading,
    number,
    opening_lines,
    percent,
    skipped,
    speed,
    start_table,
    task_table,
)
from cluster.training.observer import Outcome, RunInfo
from multitask.score_names import is_dev_score


class LiveView:
    """Header, progress bar, a line for each task and the vital signs; what was evaluated is printed above them."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress: Progress | None = None
        self._live: Live | None = None

    def start(self, run: RunInfo) -> None:
        """Open the view; after a restart it just goes on."""
        if restarted := self._progress is not None:
            self._progress.restart(run)
        else:
            self._progress = Progress(run)
            self._console.print(start_table(run), Text(""))
            self._live = Live(console=self._console, get_renderable=self.render, refresh_per_second=4, transient=True)
            self._live.start()
        for line in opening_lines(run, restarted):
            self._console.print(line, style="yellow", markup=False, highlight=False)

    def report(self, metrics: dict[str, Any]) -> None:
        """Move the view on, and print new dev scores above it."""
        if self._progress is None:
            return
        self._progress.update(metrics)
        if any(is_dev_score(key) for key in metrics):
            self._console.print(dev_title(self._progress), dev_table(self._progress), Text(""), sep="\n")

    def finish(self, outcome: Outcome) -> None:
        """Take the view away and print how it ended."""
        self.close()
        print_closing(self._console, self._progress, outcome)

    def close(self) -> None:
        """Give the terminal back."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def render(self) -> RenderableType:
        """The view as it stands."""
        if self._progress is None:
            return Text("")
        progress = self._progress
        signs = Text("  ".join(_signs(progress.latest)), style="dim", overflow="ellipsis", no_wrap=True)
        header = heading(progress.run)
        header.no_wrap = True
        return Group(header, _bar(progress), Text(""), task_table(progress), Text(""), signs)


def _bar(progress: Progress) -> Table:
    """The progress bar and, right of it, where the run is and how long it will take."""
    total = max(progress.run.total_steps, 1)
    parts = [f"{progress.step:,}/{progress.run.total_steps:,}", f"epoch {progress.latest.get('epoch', 0):.2f}"]
    phases = len(progress.run.config.get("phases", ()))
    if phases > 1:
        parts.append(f"phase {progress.latest.get('phase', 0) + 1}/{phases}")
    parts.append(f"ETA {clock(progress.seconds_left)}")
    grid = Table.grid(expand=True, padding=(0, 2, 0, 0))
    grid.add_column(ratio=1)
    grid.add_column(no_wrap=True)
    grid.add_row(ProgressBar(total=total, completed=min(progress.step, total)), "  ".join(parts))
    return grid


def _signs(latest: dict[str, Any]) -> Iterator[str]:
    """The vital signs, as far as they are known."""
    yield from speed(latest)
    if (norm := latest.get("train/grad_norm")) is not None:
        yield f"gradient norm {number(norm, 2)}"
    if (rate := latest.get("combination/conflict_rate")) is not None:
        yield f"conflicts {percent(rate)}"
    if (lr := latest.get("train/lr")) is not None:
        yield f"lr {lr:.2e}"
    yield from skipped(latest)
