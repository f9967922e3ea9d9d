"""The stream that describes a training run, and those who watch it."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from multitask.redaction import redacted


@dataclass(frozen=True)
class RunInfo:
    """What is known when a run starts. Plain JSON values only: it travels between processes as `asdict`.

    `tasks` maps each task to `{"train_rows", "dev_rows", "cut_rows", "kind", "metric"}`: `cut_rows` of the training rows are
    longer than `data.max_length`, an unscored task has no dev rows and the metric "". `data_hashes` and `versions` map names to
    strings. `resumed_step` is the optimizer step of the checkpoint that the run goes on from, 0 if it is fresh.
    `notes`: sentences on files of the run that were damaged, and on why workers were started again.
    """

    run_id: str
    name: str
    folder: str
    config: dict[str, Any]
    workers: int
    device: str
    total_steps: int
    tasks: dict[str, dict[str, Any]]
    data_hashes: dict[str, str] = field(default_factory=dict)
    resumed_step: int = 0
    versions: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Outcome:
    """How a run ended. Plain JSON values only, as in `RunInfo`.

    `interrupted`: it was asked to save and end, and goes on when it is started again.

    `dev` and `baseline_dev` hold the scores after and before training under their metric names (`dev/<task>/<metric>`,
    `dev/mean`); `seconds` says how long each part took; `files` maps a label to the path or URL of something left behind;
    `notes` are sentences on what went wrong without ending the run.
    """

    status: Literal["finished", "stopped", "interrupted", "failed"]
    error: str | None = None
    best_step: int | None = None
    best_score: float | None = None
    selection: str = "dev/mean"
    dev: dict[str, float] = field(default_factory=dict)
    baseline_dev: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    tokens_per_s: float | None = None
    files: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class Observer(Protocol):
    """Watches one run: `start`, any number of `report`, `finish`.

    `start` comes again when the workers were restarted; the run stays the same and its steps may then go back to those of
    the last checkpoint. A report is one flat dict, already reduced over the ranks: always `step` (optimizer steps done),
    `epoch` and `phase`; train records under `train/`, `combination/` and `throughput/`, evaluations under `dev/` with
    `dev/best` saying whether this one is the best so far. Shares, padding and the conflict rate are fractions of 1;
    `throughput/mfu` is that of model FLOPs in the
    devices' peak; `throughput/checkpoint_s` is how many seconds training stood still for the checkpoint of this step. The last
    evaluation may carry `tables`: `confusion/<task>` (`labels`, `matrix`: a row for each true label) and `worst/<task>`
    (`columns`, `rows`).

    An observer that cannot watch in every process has a method `check`, which is called in the one that watches before anything
    is trained, and raises a `UserError` that ends the run. One that leaves something behind names it in a dict attribute `files` (label → path or URL).
    """

    def start(self, run: RunInfo) -> None:
        """The run, or its next attempt, begins."""

    def report(self, metrics: dict[str, Any]) -> None:
        """One record of the stream."""

    def finish(self, outcome: Outcome) -> None:
        """The run is over; nothing comes after this."""


class ObserverGroup:
    """An observer that passes everything on to several, in order.

    Watching must not stop training: an observer that raises is left out from then on, with one line on stderr. What the
    observers left behind is added to the outcome's files for those that come after them.
    """

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = list(observers)

    def start(self, run: RunInfo) -> None:
        """Pass on the start."""
        self._each(lambda observer: observer.start(run))

    def report(self, metrics: dict[str, Any]) -> None:
        """Pass on one record."""
        self._each(lambda observer: observer.report(metrics))

    def finish(self, outcome: Outcome) -> None:
        """Pass on the outcome."""
        files = dict(outcome.files)

        def finish(observer: Observer) -> None:
            observer.finish(replace(outcome, files=dict(files)))
            files.update(getattr(observer, "files", {}))

        self._each(finish)

    def _each(self, action: Callable[[Observer], None]) -> None:
        for observer in list(self._observers):
            try:
                action(observer)
            except Exception as error:
                self._observers.remove(observer)
                print(f"{type(observer).__name__} failed and is left out: {one_line(error)}", file=sys.stderr)


def one_line(error: BaseException) -> str:
    """The error's kind and the first line of its message, without secrets in URIs."""
    lines = [line.strip() for line in redacted(str(error)).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
