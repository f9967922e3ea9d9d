"""A sweep as Python sees it: its trials, the best of them, and what can be made of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.api.durations import read_amount, read_duration
from cluster.api.show import OnChange, Show, shown_sweep
from cluster.api.trials_frame import trials_frame
from cluster.sweeps.create import OpenedSweep, reopen_sweep
from cluster.sweeps.records import Sweep, Trial
from cluster.sweeps.status import current_sweep, describe_status
from cluster.sweeps.store import STOP, SweepStore
from multitask.config.messages import valid_names
from multitask.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from cluster.api.best_result import BestResult
    from cluster.sweeps.points import Enqueued
    from cluster.tracking.login import Mode


@dataclass(frozen=True)
class SweepResult:
    """A sweep as it stood when it was read. `reason`: in one line why it ended before it was through; None if it did not.

    `sweep` holds all records of its folder, `store` reads and writes them.
    """

    store: SweepStore
    sweep: Sweep
    reason: str | None

    @property
    def name(self) -> str:
        """Its name."""
        return self.sweep.name

    @property
    def folder(self) -> str:
        """Folder or URI."""
        return self.store.location

    @property
    def status(self) -> str:
        """`running`, `finished`, `stopped` (something is left to do) or `failed`."""
        return self.sweep.status

    @cached_property
    def trials(self) -> "pd.DataFrame":
        """One row a trial; see `cluster.api.trials_frame.trials_frame`."""
        return trials_frame(self.sweep)

    def trial(self, name: str) -> Trial:
        """The record of the trial called `name`: by its run, or by what follows the sweep's name there, as "004".

        Raises:
            UserError: there is none.
        """
        known = {trial.run.removeprefix(f"{self.name}-"): trial for trial in self.sweep.trials}
        found = known.get(name.removeprefix(f"{self.name}-"))
        if found is None:
            raise UserError(f"sweep {self.name} has no trial {name!r}; {valid_names(name, list(known))}")
        return found

    def traceback(self, name: str) -> str | None:
        """What the last attempt at the trial called `name` failed with; None where nothing was raised.

        Raises:
            UserError: there is no such trial.
        """
        return self.store.traceback(self.trial(name))

    def best(
        self,
        by: str | None = None,
        *,
        weights: Mapping[str, float] | None = None,
        baselines: Mapping[str, float] | None = None,
        margin: float | None = None,
    ) -> "BestResult":
        """The best configuration now, as `concord best` finds it.

        Args:
            by: a dev score, or one of the rules weighted, course, worst, knee and no-worse; the score that the sweep
                searched for if not given, the mean where it searched for several.
            weights: for weighted, task to weight; 1 where none is given.
            baselines: task to its score without the others; they go before those that the sweep trained.
            margin: for no-worse, how far below its baseline a task may be.

        Raises:
            NoScoreError: trials have failed and none has a score.
            UserError: no trial has a score yet, none is admitted, or the options do not fit each other or the sweep.
        """
        from cluster.api.best_result import best_of

        return best_of(self.store, by=by, weights=weights, baselines=baselines, margin=margin)

    def export(self, path: str | Path, by: str | None = None, **rule: Any) -> str:
        """Export the best checkpoint of `best(by, **rule)` to the folder `path`; gives its place.

        Raises:
            UserError: as `best`; or the checkpoint is not kept, or `path` holds something else.
        """
        return self.best(by, **rule).export(path).place

    def report(self, output: str | Path | None = None) -> Path:
        """Write the HTML page about the sweep to `output`, or to `report.html` in its folder; gives its path.

        Raises:
            UserError: the file cannot be written.
        """
        from cluster.report import write_report

        return write_report([self.folder], None if output is None else str(output))

    def resume(
        self,
        *,
        tries: Sequence[Mapping[str, Any]] = (),
        trials: int | None = None,
        budget: str | float | None = None,
        budget_tokens: str | int | None = None,
        trial_budget: str | float | None = None,
        concurrent: int | None = None,
        show: Show = False,
        on_change: OnChange | None = None,
    ) -> "SweepResult":
        """Go on, after whatever ended it, with other bounds where they are given; for them see `cluster.sweep`.

        `tries`: configurations to train beside what the search proposes, as values of the space's parameters.

        Raises:
            UserError: another process is at it, its space means something else by now, or as `cluster.sweep`.
        """
        opened = reopen_sweep(
            self.folder,
            "runs",
            tries,
            trials=trials,
            budget_seconds=None if budget is None else read_duration("--budget", budget),
            budget_tokens=None if budget_tokens is None else read_amount("--budget-tokens", budget_tokens),
            trial_seconds=None if trial_budget is None else read_duration("--trial-budget", trial_budget),
            concurrent=concurrent,
        )
        return run_opened(opened, show, on_change)

    def enqueue(self, source: str | Path, study: str | None = None) -> "Enqueued":
        """Have points tried when it goes on, before it searches further; those that were tried already are passed over.

        Args:
            source: a file `*.yaml`, `*.json` or `*.csv` of points, or an Optuna storage, whose enqueued trials are taken.
            study: the study's name; the storage's only one if not given.

        Raises:
            UserError: it is running or a population, the source cannot be read, or a point cannot be trained.
        """
        from cluster.sweeps.points import enqueue_points, read_points

        opened = reopen_sweep(self.folder, "runs")
        with opened.lease:
            return enqueue_points(opened, read_points(str(source), study, opened.sweep.space["parameters"]))

    def export_study(self, storage: str, study: str | None = None, *, replace: bool = False) -> int:
        """Write it as a study that optuna-dashboard opens; gives the number of its trials.

        Args:
            storage: a database's URL as `sqlite:///study.db`, or a journal file as `study.log`.
            study: the study's name; the sweep's if not given.
            replace: write a study of that name anew.

        Raises:
            UserError: there is such a study already, or the storage cannot be written.
        """
        from cluster.analysis.study_export import export_study

        return export_study(self.sweep, storage, study, replace=replace)

    def stop(self) -> None:
        """Ask it to end, in whatever process it runs; its trials end within seconds, and `resume` goes on.

        Raises:
            UserError: it is not running.
        """
        if self.status != "running":
            raise UserError(f"sweep {self.name} is not running, it is {self.status}")
        self.store.storage.write(STOP, b"")

    def to_dict(self) -> dict[str, Any]:
        """How it stands now, as plain JSON values."""
        return describe_status(self.store)


def load_sweep(name: str | Path, storage: str = "runs") -> SweepResult:
    """The sweep called `name` in `storage`, or the one whose folder or URI is `name`, as it stands.

    Raises:
        UserError: there is none.
    """
    return _result(SweepStore.find(str(name), storage))


def list_sweeps(storage: str = "runs") -> list[SweepResult]:
    """The sweeps in `storage`, by name."""
    return [_result(store) for store in SweepStore.all_in(storage)]


def run_opened(opened: OpenedSweep, show: Show, on_change: OnChange | None) -> SweepResult:
    """Run a sweep until it is through, or something ends it.

    Raises:
        UserError: as `cluster.sweeps.run_sweep.run_sweep`.
    """
    from cluster.sweeps.run_sweep import run_sweep
    from cluster.tracking.login import announce_mode
    from cluster.tracking.tracker import trackers

    mode = announce_mode(opened.search.base.tracking.mode)
    with opened.lease, shown_sweep(show, on_change) as watch:
        reason = run_sweep(opened, watch, partial(trackers, mode=mode))
        result = SweepResult(opened.store, current_sweep(opened.store), reason)
        if mode != "disabled" and result.sweep.trials != opened.sweep.trials:
            _track(result, mode)
    return result


def _track(result: SweepResult, mode: "Mode") -> None:
    """Record the sweep itself in W&B, with the page about it."""
    from cluster.report.page import render_sweep
    from cluster.tracking.sweep_run import track_sweep

    track_sweep(result.store, result.sweep, result.trials, render_sweep(result.store), mode)


def _result(store: SweepStore) -> SweepResult:
    return SweepResult(store, current_sweep(store), store.state().get("reason"))
