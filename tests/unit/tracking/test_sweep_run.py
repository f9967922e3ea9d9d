"""The W&B run of a sweep itself, and the tag on its winner."""

import json
from dataclasses import replace

import pytest
from wandb.errors import CommError

from cluster.api.trials_frame import trials_frame
from cluster.storage.storage import Storage
from cluster.sweeps.records import Report
from cluster.sweeps.store import SweepStore
from cluster.tracking.sweep_run import tag_winner, track_sweep
from tests.unit.report.fake_sweep import make_trials, write_sweep
from tests.wandb_reader import read_runs
from tests.wandb_server import ServedRun

PAGE = "<!doctype html><title>sweep fake</title>"


@pytest.fixture
def store(tmp_path):
    store = SweepStore(Storage(str(write_sweep(tmp_path, make_trials(10, repeats=False)))))
    for trial in store.read().trials:
        store.run(trial.run).write_json("run.json", {"run_id": f"{trial.run}-1f"})
    return store


def winner(store, leave_out=()):
    """The run whose best dev/mean is the highest, by hand."""
    best = {trial.run: trial.best("dev/mean") for trial in store.read().trials if trial.run not in leave_out}
    return max((run for run in best if best[run]), key=lambda run: best[run].scores["dev/mean"])


def test_a_sweep_is_one_run_with_its_trials_its_importance_and_its_report(store, tmp_path, capfd):
    sweep = replace(store.read(), id="fake-1234")
    for _ in range(2):
        track_sweep(store, sweep, trials_frame(sweep), PAGE, "offline")
    assert capfd.readouterr().err == ""
    first, run = read_runs(tmp_path / "fake")
    assert (first.id, run.id, run.run.run_group, run.run.job_type) == ("fake-1234", "fake-1234", "fake-1234", "sweep")
    (row,) = run.history
    files = sorted((tmp_path / "fake" / "wandb").glob("offline-run-*"))[-1] / "files"
    table = json.loads((files / row["trials/path"]).read_text())
    assert [line[table["columns"].index("run")] for line in table["data"]] == [trial.run for trial in sweep.trials]
    assert {"dev/mean", "sample.optimizer.lr"} <= set(table["columns"])
    shares = json.loads((files / row["importance_table/path"]).read_text())["data"]
    assert {name for name, _ in shares} <= set(sweep.space["parameters"])
    assert (files / row["report/path"]).read_text() == PAGE
    assert (run.summary["winner"], run.summary["status"], run.exit_code) == (winner(store), "finished", 0)


def test_wandb_that_fails_costs_a_sweep_one_line(store, monkeypatch, capfd):
    monkeypatch.setattr("wandb.init", lambda **_: 1 / 0)
    sweep = store.read()
    track_sweep(store, sweep, trials_frame(sweep), PAGE, "offline")
    assert capfd.readouterr().err.startswith("W&B: the run of sweep fake was not recorded: ZeroDivisionError")


def test_the_winner_alone_is_tagged_also_when_it_changes(store, server):
    sweep, first = store.read(), winner(store)
    for trial in sweep.trials:
        server.runs[f"{trial.run}-1f"] = ServedRun()
        server.runs[f"{trial.run}-1f"].tags = ["combination:sum"]
    assert tag_winner(store, sweep) == [first]
    assert server.runs[f"{first}-1f"].tags == ["combination:sum", "winner"]
    other = next(trial for trial in sweep.trials if trial.run != first and trial.reports)
    better = other.with_report(replace(other.reports[-1], scores=dict.fromkeys(other.reports[-1].scores, 1.0)))
    assert isinstance(better.reports[-1], Report)
    store.write_trial(better)
    for _ in range(2):
        assert tag_winner(store, store.read()) == [other.run]
    assert [run for run, own in server.runs.items() if "winner" in own.tags] == [f"{other.run}-1f"]


def test_a_winner_that_the_server_does_not_know_yet_is_tagged_later(store, server):
    with pytest.raises(CommError, match="Could not find run"):
        tag_winner(store, store.read())
    server.runs[f"{winner(store)}-1f"] = ServedRun()
    assert tag_winner(store, store.read()) == [winner(store)]
