"""The run in the terminal, in a log file, or as JSON lines."""

import json
from dataclasses import asdict
from typing import Any

from rich.console import Console

from cluster.terminal.run_lines import PlainLines
from cluster.terminal.run_live import LiveView
from cluster.training.observer import Observer, Outcome, RunInfo
from multitask.plain_json import finite


class Display:
    """Shows a run: a live view in a terminal, one plain line for each report elsewhere, JSON lines where `json` is set.

    JSON lines are objects with an `event` (start, report, finish) beside the fields of `RunInfo`, the metrics, or the fields
    of `Outcome`; numbers that are not finite become null.
    """

    def __init__(self, console: Console | None = None, json: bool = False) -> None:
        self._console = console or Console()
        self._view: Observer
        if json:
            self._view = JsonLines(self._console)
        elif self._console.is_terminal and not self._console.is_dumb_terminal:
            self._view = LiveView(self._console)
        else:
            self._view = PlainLines(self._console)

    def start(self, run: RunInfo) -> None:
        """Show what will be trained."""
        self._view.start(run)

    def report(self, metrics: dict[str, Any]) -> None:
        """Show the progress, and the dev scores if there are new ones."""
        self._view.report(metrics)

    def finish(self, outcome: Outcome) -> None:
        """Show the dev scores before and after, and where everything is."""
        self._view.finish(outcome)

    def close(self) -> None:
        """Give the terminal back, also if the run never finished."""
        if isinstance(self._view, LiveView):
            self._view.close()


class JsonLines:
    """One JSON object for each call, on a line of its own, and nothing else."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def start(self, run: RunInfo) -> None:
        """Print the run."""
        self._print("start", asdict(run))

    def report(self, metrics: dict[str, Any]) -> None:
        """Print the record."""
        self._print("report", metrics)

    def finish(self, outcome: Outcome) -> None:
        """Print the outcome."""
        self._print("finish", asdict(outcome))

    def _print(self, event: str, values: dict[str, Any]) -> None:
        line = json.dumps({"event": event, **finite(values)}, allow_nan=False)
        self._console.file.write(line + "\n")
        self._console.file.flush()
