"""Who watches what is started from Python: the terminal, an observer, a function."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from cluster.sweeps.records import Sweep
from cluster.training.observer import Observer, ObserverGroup, Outcome, RunInfo, one_line

# Whether it is shown as the commands do: not at all, for people, or as JSON lines.
Show = bool | Literal["json"]
OnReport = Callable[[dict[str, Any]], object]
OnChange = Callable[[Sweep], object]


class Listener:
    """Calls `on_report` with every record of a run, and keeps its outcome, with what the trackers left behind."""

    def __init__(self, on_report: OnReport | None) -> None:
        self._on_report = on_report
        self.outcome: Outcome | None = None

    def start(self, run: RunInfo) -> None:
        """Nothing is done."""

    def report(self, metrics: dict[str, Any]) -> None:
        """Pass on one record."""
        if self._on_report is not None:
            self._on_report(metrics)

    def finish(self, outcome: Outcome) -> None:
        """Keep the outcome."""
        self.outcome = outcome


@contextmanager
def shown(show: Show, observers: list[Observer]) -> Iterator[Observer]:
    """One observer for all of `observers` and, where it is to be shown, the terminal, which is given back at the end."""
    if show is False:
        yield ObserverGroup(observers)
        return
    from cluster.terminal.run_display import Display

    display = Display(json=show == "json")
    try:
        yield ObserverGroup([*observers, display])
    finally:
        display.close()


@contextmanager
def shown_sweep(show: Show, on_change: OnChange | None) -> Iterator[Callable[[Sweep], None]]:
    """One function for `on_change` and, where it is to be shown, the terminal, which is given back at the end.

    Watching must not stop a sweep: an `on_change` that raises is left out from then on, with one line on stderr.
    """
    from cluster.terminal.sweep_display import SweepDisplay

    display = None if show is False else SweepDisplay(json=show == "json")
    listeners = [] if on_change is None else [on_change]

    def watch(sweep: Sweep) -> None:
        for listener in list(listeners):
            try:
                listener(sweep)
            except Exception as error:
                listeners.remove(listener)
                print(f"on_change failed and is left out: {one_line(error)}", file=sys.stderr)
        if display is not None:
            display(sweep)

    try:
        yield watch
    finally:
        if display is not None:
            display.close()
