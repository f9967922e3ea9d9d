"""Sweeps as Python sees them: read from folders written by hand."""

import csv
import io
import json
import math
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest

import cluster
from cluster.api.best_result import NoScoreError
from cluster.api.sweep_result import list_sweeps
from cluster.cli import main
from cluster.storage.storage import Storage
from cluster.sweeps.store import STOP, SweepStore
from multitask.errors import UserError
from tests.unit.analysis.sweeps import baseline, scores, sweep, trial, write


@pytest.fixture
def storage(tmp_path: Path) -> str:
    made = [
        trial(0, scores(0.5, 0.6, 0.4), sample={}),
        trial(1, scores(0.6, 0.7, 0.5), sample={"lr": 1e-4, "mix": "drawn"}),
        trial(1, scores(0.62, 0.7, 0.5), sample={"lr": 1e-4, "mix": "drawn"}, repeat=1),
        trial(2, scores(0.7, 0.5, 0.4), sample={"lr": 1e-3, "mix": "plain"}, status="stopped"),
        trial(3, status="failed", reason="CUDA out of memory"),
        baseline("sst", 0.58),
    ]
    write(sweep(made), str(tmp_path))
    return str(tmp_path)


@pytest.fixture
def found(storage: str) -> cluster.SweepResult:
    return cluster.load_sweep("s", storage)


def test_sweep_is_found_by_name_and_by_folder(found: cluster.SweepResult, storage: str) -> None:
    assert (found.name, found.status, found.reason) == ("s", "finished", None)
    assert found.folder == f"{storage}/s"
    assert cluster.load_sweep(Path(found.folder)).sweep == found.sweep
    assert [own.name for own in list_sweeps(storage)] == ["s"]
    with pytest.raises(UserError, match="there is no sweep 'nothing'"):
        cluster.load_sweep("nothing", storage)


def test_trials_are_a_table_of_scores_and_parameters(found: cluster.SweepResult) -> None:
    table = found.trials.set_index("run")
    assert list(table.index) == [own.run for own in found.sweep.trials]
    columns = list(found.trials.columns)
    assert columns[:9] == ["run", "number", "repeat", "role", "status", "reason", "rows", "tokens", "seconds"]
    assert sorted(columns[-3:]) == ["sample.lr", "sample.mix", "sample.task"]
    assert table.loc["s-001", "dev/sst/accuracy"] == 0.6
    assert table.loc["s-001", "sample.mix"] == "drawn"
    assert table.loc["s-003", ["status", "reason"]].tolist() == ["failed", "CUDA out of memory"]
    assert math.isnan(table.loc["s-003", "dev/mean"])
    assert table.loc["s-000", ["rows", "tokens"]].tolist() == [100, 1000]


def test_trial_s_scores_are_those_of_its_best_checkpoint(tmp_path: Path) -> None:
    made = trial(0, scores(0.5, 0.5, 0.5), scores(0.9, 0.9, 0.9), scores(0.6, 0.6, 0.6))
    write(sweep([made]), str(tmp_path))
    table = cluster.load_sweep("s", str(tmp_path)).trials
    assert table["dev/sst/accuracy"].tolist() == [0.9]
    assert table["best_step"].tolist() == [made.reports[1].step]
    assert table["rows"].tolist() == [made.reports[2].rows]


def test_sweep_without_trials_has_an_empty_table_and_no_best(tmp_path: Path) -> None:
    write(sweep([]), str(tmp_path))
    empty = cluster.load_sweep("s", str(tmp_path))
    assert len(empty.trials) == 0
    assert "status" in empty.trials
    with pytest.raises(UserError, match="no trial has been evaluated yet"):
        empty.best()


@pytest.mark.parametrize(
    ("rule", "options"),
    [
        ({}, []),
        ({"by": "dev/sst/accuracy"}, ["--by", "dev/sst/accuracy"]),
        ({"by": "weighted", "weights": {"sst": 9}}, ["--by", "weighted", "--weight", "sst=9"]),
        ({"by": "course"}, ["--by", "course"]),
        (
            {"by": "worst", "baselines": {"quora": 0.6, "sts": 0.6}},
            ["--by", "worst", "--baseline", "quora=.6", "--baseline", "sts=.6"],
        ),
        (
            {"by": "no-worse", "baselines": {"quora": 0.6, "sts": 0.5}, "margin": 0.01},
            ["--by", "no-worse", "--baseline", "quora=.6", "--baseline", "sts=.5", "--margin", ".01"],
        ),
    ],
    ids=lambda value: value.get("by", "mean") if isinstance(value, dict) else "",
)
def test_best_is_what_the_command_prints(
    found: cluster.SweepResult,
    storage: str,
    rule: dict[str, Any],
    options: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", ["concord", "best", "s", "--storage", storage, "--json", *options])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    told, best = json.loads(capsys.readouterr().out), found.best(**rule)
    assert best.run == told["winner"]["runs"][0]
    assert best.score == pytest.approx(told["winner"]["score"]["value"])
    assert best.sample == told["winner"]["parameters"]
    assert best.verdict == told["verdict"]["words"]
    assert (best.is_provisional, best.confirmed) == (True, None)
    assert best.scores["dev/mean"] == pytest.approx(told["winner"]["scores"]["dev/mean"]["mean"])


def test_rules_choose_differently(found: cluster.SweepResult) -> None:
    assert found.best().run == "s-001"
    assert found.best(by="dev/sst/accuracy").run == found.best(by="weighted", weights={"sst": 9}).run == "s-002"


def test_without_a_rule_the_sweep_s_own_score_decides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = [trial(0, scores(0.5, 0.9, 0.9)), trial(1, scores(0.7, 0.1, 0.1))]
    write(sweep(made, metrics=("dev/sst/accuracy",)), str(tmp_path))
    found = cluster.load_sweep("s", str(tmp_path))
    assert (found.best().run, found.best().score) == ("s-001", 0.7)
    assert found.best(by="dev/mean").run == "s-000"
    # As the status has it.
    assert (found.to_dict()["best"], found.to_dict()["best_score"]) == ("s-001", 0.7)


def test_what_the_rule_lacks_is_an_error_of_one_line(found: cluster.SweepResult) -> None:
    with pytest.raises(UserError, match="--by worst needs the single-task score of quora, sts"):
        found.best(by="worst")
    with pytest.raises(UserError, match="did you mean 'dev/mean'"):
        found.best(by="dev/meen")


def test_one_trial_is_shown_with_what_it_failed_with(
    found: cluster.SweepResult, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = found.trial("003")
    assert found.trial("s-003") is failed
    assert found.traceback("003") is None
    found.store.write_traceback(failed, "Traceback (most recent call last):\nMemoryError: [no] room")
    arguments = ["concord", "sweep", "status", found.folder, "003"]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(SystemExit):
        main()
    shown = capsys.readouterr().out
    assert "CUDA out of memory" in shown
    assert "Traceback (most recent call last):\nMemoryError: [no] room\n" in shown
    monkeypatch.setattr("sys.argv", [*arguments, "--json"])
    with pytest.raises(SystemExit):
        main()
    told = json.loads(capsys.readouterr().out)
    assert (told["run"], told["traceback"][-4:]) == ("s-003", "room")
    with pytest.raises(UserError, match=r"no trial '03'; valid: .*did you mean '003'"):
        found.trial("03")


def test_one_trial_is_shown_with_its_evaluations(
    found: cluster.SweepResult, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["concord", "sweep", "status", found.folder, "001-r1"])
    with pytest.raises(SystemExit):
        main()
    shown = capsys.readouterr().out
    assert "lr=1e-4 mix=drawn" in shown
    row = next(line.split() for line in shown.splitlines() if line.startswith("1 "))
    assert row == ["1", "10", "100", "0.620", "0.700", "0.500", "0.607"]


def test_no_score_after_failures_is_an_error_that_holds_the_reasons(tmp_path: Path) -> None:
    write(sweep([trial(number, status="failed", reason="out of memory") for number in range(2)]), str(tmp_path))
    with pytest.raises(NoScoreError, match="s: no trial has a score") as error:
        cluster.load_sweep("s", str(tmp_path)).best()
    assert error.value.failures == [("out of memory", ["s-000", "s-001"])]


def test_report_is_written_where_it_is_wanted(found: cluster.SweepResult, tmp_path: Path) -> None:
    assert found.report(tmp_path / "page.html") == tmp_path / "page.html"
    assert "s-001" in (tmp_path / "page.html").read_text()


def test_stop_asks_a_sweep_that_runs(found: cluster.SweepResult, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="sweep s is not running, it is finished"):
        found.stop()
    running = SweepStore(Storage(found.folder))
    running.write_state(
        {"status": "running", "heartbeat": time.time(), "pid": os.getpid(), "host": socket.gethostname()}
    )
    cluster.load_sweep(found.folder).stop()
    assert running.storage.exists(STOP)


def test_trials_as_csv_are_the_table(
    found: cluster.SweepResult, storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def run(*arguments: str) -> str:
        monkeypatch.setattr("sys.argv", ["concord", "sweep", "trials", "s", "--storage", storage, *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0
        return str(capsys.readouterr().out)

    rows = list(csv.DictReader(io.StringIO(run())))
    assert [row["run"] for row in rows] == list(found.trials["run"])
    again = next(row for row in rows if row["run"] == "s-001-r1")
    assert (again["dev/sst/accuracy"], again["sample.mix"], again["reason"]) == ("0.62", "drawn", "")
    file = tmp_path / "trials.csv"
    assert run("-o", str(file)) == ""
    assert list(csv.DictReader(file.open())) == rows
    told = json.loads(run("--json"))["trials"]
    one = next(row for row in told if row["run"] == "s-001")
    assert (one["number"], one["sample.lr"], one["dev/sst/accuracy"]) == (1, 1e-4, 0.6)
    assert "reason" not in one


def test_study_is_written_by_the_command(
    storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    monkeypatch.setattr("sys.argv", ["concord", "sweep", "export-study", "s", url, "--storage", storage])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"5 trials in study s; optuna-dashboard {url} shows it\n"
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "--replace" in capsys.readouterr().err
