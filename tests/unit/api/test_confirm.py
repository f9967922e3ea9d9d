"""A confirmation from its plan to the test scores, on real tiny runs that are trained here in place of Ray's workers."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cluster.api.sweep_result import SweepResult, load_sweep
from cluster.storage.storage import Storage
from cluster.sweeps.confirmation_ledger import open_confirmation_ledger
from cluster.sweeps.create import OpenedSweep, create_sweep
from cluster.sweeps.records import Options
from cluster.sweeps.search import open_search
from cluster.sweeps.store import SweepStore
from cluster.sweeps.trials import TrialLedger, open_ledger
from cluster.training.session import LocalSession
from cluster.training.worker import train
from multitask.data import prepare_tables
from tests.integration.commands import write_recipe

REASON = "stopped by concord sweep stop"


def _train_all(ledger: TrialLedger, most: int = 100) -> None:
    """Train the ledger's next trials in this process."""
    for _ in range(most):
        trial = ledger.next()
        if trial is None:
            return
        session = LocalSession("cpu", [])
        try:
            train(ledger.config(trial), session, time.time())
        finally:
            session.close()
        ledger.end(trial.run, "finished", None)


@pytest.fixture
def found(tiny_tasks: dict[str, Any], tmp_path: Path) -> SweepResult:
    """A search of the recipe and one learning rate that somebody has stopped; its dev files stand for labelled test files, too."""
    for task in tiny_tasks["tasks"].values():
        task["files"]["test"] = task["files"]["dev"]
    recipe = write_recipe(tmp_path / "tiny.yaml", tiny_tasks)
    search, store = open_search(str(recipe), [], "learning_rate"), SweepStore(Storage(str(tmp_path / "runs" / "s")))
    sweep = create_sweep(search, "s", Options(trials=2, evaluations=1), store)
    _train_all(open_ledger(store, sweep, search, prepare_tables(search.base), {"board": []}))
    store.write_state({"status": "stopped", "reason": REASON, "elapsed": 9.0})
    return load_sweep(store.location)


def _drive(monkeypatch: pytest.MonkeyPatch, most: int = 100) -> list[OpenedSweep]:
    """Train at most so many trials of a confirmation where a driver would."""
    driven: list[OpenedSweep] = []

    def run_sweep(opened: OpenedSweep, *_: Callable[..., Any]) -> None:
        driven.append(opened)
        opened.store.write_confirmations(opened.sweep.confirmations)
        tables = prepare_tables(opened.search.base)
        _train_all(open_confirmation_ledger(opened.store, opened.sweep, opened.search, tables, {"board": []}), most)
        opened.store.write_state({"status": "finished", "reason": None, "elapsed": 19.0})

    monkeypatch.setattr("cluster.sweeps.run_sweep.run_sweep", run_sweep)
    return driven


def test_a_confirmation_that_was_cut_off_goes_on_and_ends_with_test_scores(
    found: SweepResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    driven = _drive(monkeypatch, most=3)
    half = found.best().confirm(top=1, seeds=2)
    assert half.is_provisional
    assert "3 of 4 trials have ended" in half.verdict
    _drive(monkeypatch)
    best = found.best().confirm()
    assert (best.is_provisional, len(driven)) == (False, 1)
    confirmed, sweep = best.confirmed, found.store.read()
    assert confirmed is not None
    assert (confirmed.rows, confirmed.failed, len(confirmed.differences)) == (None, (), 1)
    # The state is that of the search.
    assert (found.store.state()["reason"], sweep.status, sweep.elapsed) == (REASON, "stopped", 19.0)
    fresh = {own.run: own for own in sweep.trials if own.role == "confirm"}
    assert confirmed.confirmation.test.keys() == fresh.keys()
    for run, scores in confirmed.confirmation.test.items():
        reached = fresh[run].best("dev/mean")
        assert reached is not None
        expected = {key.replace("dev/", "test/"): value for key, value in reached.scores.items()}
        assert scores == pytest.approx({key: expected[key] for key in scores}, abs=1e-6)
        assert "test/mean" in scores


def test_only_checkpoints_of_the_recipe_and_of_the_best_finalist_stay(
    found: SweepResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    _drive(monkeypatch)
    store = found.store
    other = next(own for own in store.read().trials if own.number == 1)
    store.write_trial(replace(other, number=2, run="s-002"))
    best = found.best().confirm(top=2, seeds=2)
    assert best.confirmed is not None
    plan = best.confirmed.confirmation
    kept = {0, best.confirmed.differences[0].finalist.number}
    for one in plan.everything:
        for seed in plan.seeds:
            folder = store.run(plan.run("s", one.number, seed)).storage
            assert bool(folder.folders("checkpoints")) is (one.number in kept)
