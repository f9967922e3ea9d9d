"""Which checkpoints stay when trials have ended."""

from pathlib import Path
from typing import Any

import pytest

from cluster.sweeps.records import Generation, Status, Trial
from cluster.sweeps.trial_checkpoints import keep_best_checkpoints
from cluster.sweeps.trials import TrialLedger
from tests.unit.sweeps.tiny_sweeps import open_tiny, reported

STS = "dev/sts/pearson"


def _checkpoints(ledger: TrialLedger, run: str, *steps: int) -> None:
    for step in steps:
        ledger.store.run(run).storage.write(f"checkpoints/step-{step:08d}/manifest.json", b"{}")


def _left(ledger: TrialLedger) -> dict[str, list[int]]:
    """Run to the steps of its checkpoints."""
    found = {
        run: ledger.store.run(run).storage.folders("checkpoints") for run in ledger.store.storage.folders("trials")
    }
    return {run: [int(name.removeprefix("step-")) for name in names] for run, names in found.items()}


def _trial(ledger: TrialLedger, *scores: float, status: Status | None = "finished") -> Trial:
    """The next trial after these evaluations, with a checkpoint of each."""
    trial = ledger.next()
    assert trial is not None
    trial = reported(ledger, trial, *scores)
    _checkpoints(ledger, trial.run, *(10 * n for n in range(1, len(scores) + 1)))
    return ledger.end(trial.run, status, None) if status else trial


def test_best_checkpoints_of_the_best_trials_stay(tmp_path: Path) -> None:
    ledger = open_tiny(tmp_path, keep=2)
    for scores in ((0.2, 0.3), (0.6, 0.5, 0.4), (0.1, 0.4), (0.45,)):
        _trial(ledger, *scores)
    keep_best_checkpoints(ledger)
    assert _left(ledger) == {"s-000": [], "s-001": [10], "s-002": [], "s-003": [10]}


def test_trials_that_go_on_keep_all(tmp_path: Path) -> None:
    ledger = open_tiny(tmp_path, keep=1)
    _trial(ledger, 0.9)
    _trial(ledger, 0.1, 0.2, status=None)
    waiting = _trial(ledger, 0.1, 0.3, status=None)
    ledger.end(waiting.run, "waiting", "the budget is spent")
    keep_best_checkpoints(ledger)
    assert _left(ledger) == {"s-000": [10], "s-001": [10, 20], "s-002": [10, 20]}


def test_stopped_trials_count_by_their_best_score_and_failed_ones_behind_all(tmp_path: Path) -> None:
    ledger = open_tiny(tmp_path, keep=2)
    _trial(ledger, 0.5)
    _trial(ledger, 0.7, 0.6, status="stopped")
    _trial(ledger, 0.6, status="failed")
    _trial(ledger, float("nan"), status="failed")
    _trial(ledger, status="failed")
    _checkpoints(ledger, "s-004", 5)
    keep_best_checkpoints(ledger)
    assert _left(ledger) == {"s-000": [10], "s-001": [10], "s-002": [], "s-003": [], "s-004": []}


def test_checkpoints_are_kept_by_configuration(tmp_path: Path) -> None:
    """The best mean wins: its checkpoint stays, and not those of the luckiest single seeds."""
    ledger = open_tiny(tmp_path, keep=1, trials=3, repeats=2)
    for score in (0.2, 0.9, 0.6, 0.61, 0.3):
        _trial(ledger, score)
    last = _trial(ledger, 0.95, 0.3, status=None)
    keep_best_checkpoints(ledger)
    # The last configuration may still become the best one.
    kept = {"s-000": [], "s-000-r1": [], "s-001": [], "s-001-r1": [10], "s-002": [10], "s-002-r1": [10, 20]}
    assert _left(ledger) == kept
    ledger.end(last.run, "failed", "out of memory")
    keep_best_checkpoints(ledger)
    assert _left(ledger) == kept | {"s-002": [], "s-002-r1": []}


def test_baselines_keep_nothing_and_push_no_trial_out(tmp_path: Path) -> None:
    ledger = open_tiny(tmp_path, "learning_rate", trials=2, keep=2, baselines=True)
    for score in (0.4, 0.9, 0.95, 0.8, 0.3):
        _trial(ledger, score)
    keep_best_checkpoints(ledger)
    bases = {f"s-base-{task}": list[int]() for task in ("sst", "quora", "sts")}
    assert _left(ledger) == bases | {"s-000": [10], "s-001": [10]}


def test_with_several_metrics_the_best_of_each_stay(tmp_path: Path) -> None:
    ledger = open_tiny(tmp_path, keep=2, metrics=("dev/sst/accuracy", STS))
    for mean, sst, sts in ((0.5, 0.9, 0.1), (0.6, 0.8, 0.4), (0.4, 0.1, 0.7)):
        trial = ledger.next()
        assert trial is not None
        values: dict[str, Any] = {"train/evaluations": 1, "step": 10, "train/rows": 100, "train/tokens": 1000}
        ledger.report(trial.run, values | {"dev/mean": mean, "dev/sst/accuracy": sst, STS: sts})
        _checkpoints(ledger, trial.run, 10)
        ledger.end(trial.run, "finished", None)
    keep_best_checkpoints(ledger)
    assert _left(ledger) == {"s-000": [10], "s-001": [], "s-002": [10]}


@pytest.mark.parametrize(("later", "kept"), [(0.6, [30]), (0.15, [])])
def test_of_a_population_s_trial_its_own_best_stays(tmp_path: Path, later: float, kept: list[int]) -> None:
    ledger = open_tiny(tmp_path, "population", scheduler="pbt", keep=5)
    donor, bad = _trial(ledger, 0.5, 0.9), _trial(ledger, 0.1, 0.2, status=None)
    ledger.exploit(bad.run, Generation(f"{bad.run}-g1", 2, 20, donor.run, {"optimizer.lr": 1e-3}))
    _checkpoints(ledger, f"{bad.run}-g1", 20, 30)
    reported(ledger, ledger.trial(bad.run), later)
    ledger.end(bad.run, "finished", None)
    keep_best_checkpoints(ledger)
    # The checkpoint of step 20 that it has taken over is the donor's, who keeps it.
    assert _left(ledger) == {donor.run: [20], bad.run: [] if kept else [20], f"{bad.run}-g1": kept}


def test_a_donor_keeps_all_until_its_heir_has_begun(tmp_path: Path) -> None:
    ledger = open_tiny(tmp_path, "population", scheduler="pbt", keep=1)
    _trial(ledger, 0.9)
    donor, bad = _trial(ledger, 0.5, 0.7), _trial(ledger, 0.1, 0.2, status=None)
    heir = f"{bad.run}-g1"
    ledger.exploit(bad.run, Generation(heir, 2, 20, donor.run, {"optimizer.lr": 1e-3}))
    keep_best_checkpoints(ledger)
    assert _left(ledger)[donor.run] == [10, 20]
    ledger.store.run(heir).storage.write("run.json", b"{}")
    keep_best_checkpoints(ledger)
    assert _left(ledger)[donor.run] == []


@pytest.mark.parametrize("times", [1, 2])
def test_what_comes_later_takes_the_place_of_what_was_kept(tmp_path: Path, times: int) -> None:
    ledger = open_tiny(tmp_path, keep=1)
    _trial(ledger, 0.5)
    keep_best_checkpoints(ledger)
    assert _left(ledger) == {"s-000": [10]}
    _trial(ledger, 0.6)
    for _ in range(times):
        keep_best_checkpoints(ledger)
    assert _left(ledger) == {"s-000": [], "s-001": [10]}
