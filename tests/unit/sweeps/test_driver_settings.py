"""What Tune is told of a sweep: what a trial's own process asks for, how many trials may begin, where nothing is written."""

import pickle
from pathlib import Path
from types import SimpleNamespace

import pytest
from ray.tune.search import Searcher

from cluster.launch.growth import FIXED
from cluster.launch.resources import ResourcePlan
from cluster.sweeps.concurrency import Concurrency
from cluster.sweeps.driver_settings import DriverSettings
from cluster.sweeps.records import Options
from cluster.sweeps.search import Search
from cluster.sweeps.trial_actor import TrialRunner
from cluster.sweeps.tune_searcher import LedgerSearcher
from tests.unit.sweeps.recipes import recipe
from tests.unit.sweeps.tiny_sweeps import open_tiny
from tune_spaces import open_space

NODES = [{"CPU": 8.5, "memory": 64e9}]
PLAN = ResourcePlan(1, False, {"CPU": 1.0})


def _settings(labels: dict[str, str], scheduler: str = "fifo") -> DriverSettings:
    base = recipe(cluster={"driver_labels": labels})
    search = Search("r", base, open_space("learning_rate", base), "learning_rate", {})
    return DriverSettings.of(search, Options(20, scheduler=scheduler), NODES, Concurrency(PLAN, 8), lambda sweep: None)


def test_a_trial_s_own_process_is_asked_for_on_the_nodes_that_labels_name() -> None:
    plain, labelled = _settings({}).placement, _settings({"pool": "cpu"}).placement
    assert plain.bundles == labelled.bundles == [{"memory": 1e9, "CPU": 0.01}]
    assert labelled._bound.arguments["bundle_label_selector"] == [{"pool": "cpu"}]
    assert "bundle_label_selector" not in plain._bound.arguments


def test_trials_begin_as_the_cluster_allows_and_a_population_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.sweeps.driver_settings.live_nodes", lambda: ([{"CPU": 3.0, "memory": 9e9}], []))
    monkeypatch.setattr("cluster.sweeps.driver_settings.read_growth", lambda: FIXED)
    assert _settings({}).limit() == 3
    assert _settings({}, "pbt").limit() == 20


def test_no_trial_is_given_out_beyond_the_limit(tmp_path: Path) -> None:
    ledger, limit = open_tiny(tmp_path, trials=4), 2
    searcher = LedgerSearcher(ledger, lambda: limit)
    first = searcher.suggest("a")["run"]
    assert searcher.suggest("b")["run"] != first
    assert searcher.suggest("c") is None
    ledger.end(first, "finished", None)
    assert searcher.suggest("c")["run"] not in (None, first)
    limit = 9
    assert searcher.suggest("d")["run"]
    # Those that run may have to be tried again.
    assert searcher.suggest("e") is None
    for trial in ledger.trials:
        ledger.end(trial.run, "finished", None)
    assert searcher.suggest("e") == Searcher.FINISHED


def test_what_a_population_saves_is_a_note_and_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    trial = TrialRunner.__new__(TrialRunner)
    trial._run, trial._latest = SimpleNamespace(name="s-003-g1"), {"training_iteration": 4}  # type: ignore[assignment]
    note = pickle.loads(pickle.dumps(trial.save()))
    assert (note.checkpoint.path, note.metrics) == ("s-003-g1", {"training_iteration": 4})
    trial.restore(note)
    assert list(tmp_path.iterdir()) == []
