"""Early stopping decides in a second attempt as it would have decided in one."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import TrialScheduler

from cluster.sweeps.schedulers import STOPPING, StoppingScheduler, past_results
from cluster.sweeps.trial_actor import ITERATION, SCORE
from cluster.sweeps.trials import TrialLedger
from tests.unit.sweeps.tiny_sweeps import open_tiny, reported

# Of each trial by its number: dev/mean after each of four evaluations.
CURVES = {
    0: (0.2, 0.2, 0.2, 0.2),
    1: (0.5, 0.6, 0.7, 0.8),
    2: (0.4, 0.5, 0.5, 0.5),
    3: (0.3, 0.9, 0.9, 0.9),
    4: (0.6, 0.7, 0.5, 0.9),
}


class _Tuned:
    """As much of Tune's trial as a scheduler looks at."""

    def __init__(self, run: str, number: int, attempt: int) -> None:
        self.config, self.trial_id, self.status = {"run": run}, f"{number}-{attempt}", "RUNNING"

    def is_finished(self) -> bool:
        return False


def _scheduler(ledger: TrialLedger) -> StoppingScheduler:
    def take_report(run: str, result: dict[str, Any]) -> None:
        reported(ledger, ledger.trial(run), result["value"])

    return StoppingScheduler(STOPPING[ledger.options.scheduler](ledger.options), ledger, take_report)


def _go_on(ledger: TrialLedger, attempt: int, steps: int) -> dict[str, str]:
    """Give out trials one at a time and train them, for so many evaluations in all; gives what became of each."""
    scheduler = _scheduler(ledger)
    while steps > 0 and (trial := ledger.next()) is not None:
        tuned = _Tuned(trial.run, trial.number, attempt)
        scheduler.on_trial_add(None, tuned)
        curve = CURVES[trial.number]
        status: Any = "finished"
        for number in range(len(trial.reports), len(curve)):
            if steps == 0:
                status = "running"
                break
            steps -= 1
            result = {ITERATION: number + 1, SCORE: max(curve[: number + 1]), "value": curve[number]}
            if scheduler.on_trial_result(None, tuned, result) == TrialScheduler.STOP:
                status = "stopped"
                break
        if status != "running":
            ledger.end(trial.run, status, None)
    return {trial.run: f"{trial.status} {len(trial.reports)}" for trial in ledger.trials}


@pytest.mark.parametrize("scheduler", ["asha", "median"])
@pytest.mark.parametrize("cut", [1, 5, 6, 9, 11])
def test_a_sweep_in_two_sittings_stops_what_one_in_a_single_sitting_stops(
    tmp_path: Path, scheduler: str, cut: int
) -> None:
    options = {"trials": 5, "scheduler": scheduler, "evaluations": 4, "reduction": 2}
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    whole = _go_on(open_tiny(tmp_path / "whole", "learning_rate", **options), 0, 100)
    _go_on(open_tiny(tmp_path / "parts", "learning_rate", **options), 0, cut)
    parts = _go_on(open_tiny(tmp_path / "parts", "learning_rate", **options), 1, 100)
    assert parts == whole


def test_asha_by_hand(tmp_path: Path) -> None:
    ledger = open_tiny(tmp_path, "learning_rate", trials=5, scheduler="asha", evaluations=4, reduction=2)
    # Rung 1 holds .2; .5 is above its median, .4 above that of .2 and .5 (.35), .3 below that of .2, .4, .5 (.4), .6 above.
    # Rung 2 holds .2, .6; .5 is above the median .4 of both; .7 above .5. Rung 4 holds .2, .8: .5 is at their median.
    found = _go_on(ledger, 0, 100)
    assert list(found.values()) == ["finished 4", "finished 4", "finished 4", "stopped 1", "finished 4"]


@pytest.mark.parametrize("scheduler", ["asha", "median"])
def test_at_the_last_evaluation_nothing_is_stopped(
    tmp_path: Path, scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Good ones up to the last evaluation, where the others are better: what is fully trained has finished."""
    good, falls_behind = (0.5, 0.6, 0.7, 0.9), (0.5, 0.6, 0.7, 0.7)
    monkeypatch.setattr("tests.unit.sweeps.test_schedulers.CURVES", dict.fromkeys(range(4), good) | {4: falls_behind})
    ledger = open_tiny(tmp_path, "learning_rate", trials=5, scheduler=scheduler, evaluations=4, reduction=2)
    assert _go_on(ledger, 0, 100)["s-004"] == "finished 4"


def test_trial_that_is_begun_again_is_one_of_the_race(tmp_path: Path) -> None:
    ledger = open_tiny(tmp_path, "learning_rate", trials=2, scheduler="asha", evaluations=4, reduction=2)
    scheduler = _scheduler(ledger)
    run = ledger.next().run  # type: ignore[union-attr]
    for attempt in range(2):
        tuned = _Tuned(run, 0, attempt)
        scheduler.on_trial_add(None, tuned)
        scheduler.on_trial_result(None, tuned, {ITERATION: attempt + 1, SCORE: 0.5, "value": 0.5})
    rungs = [recorded for _, recorded in scheduler._rule._brackets[0]._rungs if recorded]  # type: ignore[attr-defined]
    assert rungs == [{run: 0.5}, {run: 0.5}]


def test_recipe_and_baselines_train_to_their_end(tmp_path: Path) -> None:
    ledger = open_tiny(
        tmp_path, "learning_rate", trials=2, scheduler="asha", evaluations=4, reduction=2, baselines=True
    )
    scheduler = _scheduler(ledger)
    decisions = {}
    good = _Tuned("s-001", 1, 0)
    trials = [ledger.next() for _ in range(5)]
    scheduler.on_trial_add(None, good)
    scheduler.on_trial_result(None, good, {ITERATION: 1, SCORE: 0.9, "value": 0.9})
    for trial in trials:
        assert trial is not None
        if trial.role != "sample":
            tuned = _Tuned(trial.run, trial.number, 0)
            scheduler.on_trial_add(None, tuned)
            decisions[trial.run] = scheduler.on_trial_result(None, tuned, {ITERATION: 1, SCORE: 0.1, "value": 0.1})
    assert len(decisions) == 4
    assert set(decisions.values()) == {TrialScheduler.CONTINUE}


def test_a_score_that_is_not_finite_counts_as_the_worst(tmp_path: Path) -> None:
    ledger = open_tiny(tmp_path, "learning_rate")
    trial = ledger.next()
    assert trial is not None
    trial = reported(ledger, trial, math.nan, 0.3, math.nan, 0.2)
    assert [result[SCORE] for result in past_results(trial, "dev/mean")] == [-2.0, 0.3, 0.3, 0.3]


def test_every_rule_is_one_of_tune_s() -> None:
    options: Any = SimpleNamespace(grace=1, reduction=3)
    assert {name: type(make(options)).__module__.split(".")[0] for name, make in STOPPING.items()} == {
        "fifo": "ray",
        "asha": "ray",
        "median": "ray",
    }
