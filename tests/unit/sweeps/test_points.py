"""Points of the user's own: where they are read from, and that they are tried next."""

import json
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from cluster.cli import main
from cluster.storage.lease import Lease
from cluster.storage.lease_record import Launch
from cluster.storage.storage import Storage
from cluster.sweeps.create import reopen_sweep
from cluster.sweeps.points import Enqueued, enqueue_points, read_points
from cluster.sweeps.trials import TrialLedger
from multitask.errors import UserError
from tests.unit.sweeps.tiny_sweeps import open_tiny, reported

SPACE = """
parameters:
  optimizer.lr: {loguniform: [1.0e-6, 1.0e-2]}
  encoder.pooling: {choice: [cls, mean]}
  sampling.name: {choice: [annealed, square_root]}
"""
POINT = {"optimizer.lr": 1e-4, "encoder.pooling": "mean", "sampling.name": "annealed"}
OTHER = {"optimizer.lr": 2e-4, "encoder.pooling": "cls", "sampling.name": "square_root"}


@pytest.fixture
def space(tmp_path: Path) -> str:
    (tmp_path / "rates.yaml").write_text(SPACE, encoding="utf-8")
    return str(tmp_path / "rates.yaml")


def _enqueue(folder: Path, source: Path | str, study: str | None = None) -> Enqueued:
    opened = reopen_sweep("s", str(folder))
    with opened.lease:
        return enqueue_points(opened, read_points(str(source), study, opened.sweep.space["parameters"]))


def _listed(folder: Path, *points: dict[str, Any]) -> Path:
    path = folder / "points.json"
    path.write_text(json.dumps(points), encoding="utf-8")
    return path


def _run(ledger: TrialLedger, count: int) -> None:
    for _ in range(count):
        trial = ledger.next()
        assert trial is not None
        reported(ledger, trial, 0.1 * trial.number)
        ledger.end(trial.run, "finished", None)


def _samples(ledger: TrialLedger) -> list[dict[str, Any]]:
    return [trial.sample for trial in ledger.trials]


def test_points_are_tried_next_and_the_search_goes_on_after_them(tmp_path: Path, space: str) -> None:
    _run(open_tiny(tmp_path, space, search="tpe", trials=8), 3)
    taken = _enqueue(tmp_path, _listed(tmp_path, POINT, OTHER))
    assert (taken.samples, taken.known) == ((POINT, OTHER), 0)
    ledger = open_tiny(tmp_path, space)
    assert [trial.status for trial in ledger.trials] == ["finished"] * 3 + ["waiting"] * 2
    # They are more than the eight that were planned.
    _run(ledger, 7)
    assert ledger.next() is None
    assert _samples(ledger)[3:5] == [POINT, OTHER]
    # A sweep that goes on has no more of them.
    assert _samples(open_tiny(tmp_path, space)) == _samples(ledger)


def test_sweep_that_was_through_has_room_for_points(tmp_path: Path, space: str) -> None:
    _run(open_tiny(tmp_path, space, trials=3), 3)
    _enqueue(tmp_path, _listed(tmp_path, POINT))
    _enqueue(tmp_path, _listed(tmp_path, OTHER))
    ledger = open_tiny(tmp_path, space)
    assert ledger.options.trials == 5
    _run(ledger, 2)
    assert ledger.next() is None
    assert _samples(ledger)[3:] == [POINT, OTHER]


def test_points_come_after_those_of_the_space_where_nothing_has_begun(tmp_path: Path, space: str) -> None:
    text = SPACE + "points: [{optimizer.lr: 3.0e-4, encoder.pooling: cls, sampling.name: annealed}]\n"
    Path(space).write_text(text, encoding="utf-8")
    open_tiny(tmp_path, space, trials=4).store.storage.delete_folder("trials")
    _enqueue(tmp_path, _listed(tmp_path, POINT))
    ledger = open_tiny(tmp_path, space)
    _run(ledger, 4)
    assert [own.get("optimizer.lr") for own in _samples(ledger)[1:3]] == [3e-4, 1e-4]


def test_grid_still_has_every_combination_once(tmp_path: Path) -> None:
    whole = open_tiny(tmp_path / "whole", "paper_a_hyperparameters", search="grid", trials=13)
    _run(whole, 13)
    _run(open_tiny(tmp_path / "parts", "paper_a_hyperparameters", search="grid", trials=13), 6)
    late = _samples(whole)[9]
    _enqueue(tmp_path / "parts", _listed(tmp_path, late))
    ledger = open_tiny(tmp_path / "parts", "paper_a_hyperparameters")
    _run(ledger, 7)
    assert ledger.next() is None
    expected = _samples(whole)
    assert _samples(ledger) == [*expected[:6], late, *(own for own in expected[6:] if own != late)]


def test_what_is_known_is_passed_over(tmp_path: Path, space: str) -> None:
    ledger = open_tiny(tmp_path, space)
    _run(ledger, 2)
    tried = ledger.trials[1].sample
    taken = _enqueue(tmp_path, _listed(tmp_path, POINT, tried, POINT))
    assert (taken.samples, taken.known) == ((POINT,), 2)
    assert _enqueue(tmp_path, _listed(tmp_path, POINT)) == Enqueued((), 1)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", "- {optimizer.lr: 1e-4, encoder.pooling: mean, sampling.name: annealed}\n"),
        ("a.yml", "points:\n- {optimizer.lr: 1.0e-4, encoder.pooling: mean, sampling.name: annealed}\n"),
        ("a.json", json.dumps({"points": [POINT]})),
        ("a.csv", "optimizer.lr,encoder.pooling,sampling.name\n0.0001,mean,annealed\n"),
        (
            "a.csv",
            "run,role,dev/mean,sample.optimizer.lr,sample.encoder.pooling,sample.sampling.name,sample.task\n"
            "s-base-sst,baseline,0.3,,,,sst\ns-000,recipe,0.4,,,,\ns-001,sample,0.5,0.0001,mean,annealed,\n",
        ),
    ],
)
def test_files_of_points(tmp_path: Path, space: str, name: str, text: str) -> None:
    open_tiny(tmp_path, space)
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert _enqueue(tmp_path, tmp_path / name).samples == (POINT,)


@pytest.mark.parametrize("kind", ["database", "journal"])
def test_enqueued_trials_of_a_study(tmp_path: Path, space: str, kind: str) -> None:
    open_tiny(tmp_path, space)
    place = f"sqlite:///{tmp_path}/study.db" if kind == "database" else f"{tmp_path}/study.log"
    storage = place if kind == "database" else JournalStorage(JournalFileBackend(place))
    made = optuna.create_study(study_name="mine", storage=storage)
    made.enqueue_trial(POINT)
    made.add_trial(optuna.trial.create_trial(params={}, distributions={}, value=1.0))
    assert _enqueue(tmp_path, place, "mine" if kind == "database" else None).samples == (POINT,)


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ({**POINT, "optimizer.lr": 1.0}, r"points\.json, point 2: .*optimizer\.lr must be 1e-06 … 0\.01, got 1\.0"),
        ({**POINT, "optimiser.lr": 1.0}, r"points\.json, point 2: .*no parameter 'optimiser\.lr'.*'optimizer\.lr'"),
        ({"optimizer.lr": 1e-3}, r"points\.json, point 2: .*no value for encoder\.pooling"),
    ],
)
def test_point_that_cannot_be_tried_is_named(tmp_path: Path, space: str, point: dict[str, Any], message: str) -> None:
    open_tiny(tmp_path, space)
    with pytest.raises(UserError, match=message):
        _enqueue(tmp_path, _listed(tmp_path, OTHER, point))
    assert reopen_sweep("s", str(tmp_path)).sweep.tries == ()


@pytest.mark.parametrize(
    ("source", "study", "message"),
    [
        ("none.yaml", None, r"none\.yaml cannot be read: .*No such file"),
        ("one.yaml", None, r"one\.yaml: points are a list of mappings"),
        ("empty.csv", None, r"empty\.csv: there are no points in it"),
        ("one.yaml", "mine", r"--study mine: .*one\.yaml is a file of points"),
        ("sqlite:///{folder}/none.db", None, r"there is no file .*none\.db"),
        ("{folder}/none.log", None, r"storage .*none\.log: there is no such file"),
        ("{folder}/two.log", None, r"two\.log: not one study alone, name it by --study; valid: .*first"),
        ("{folder}/two.log", "frist", r"no study 'frist'; .*did you mean 'first'"),
        ("{folder}/two.log", "first", r"two\.log: there are no points in it"),
    ],
)
def test_source_without_points_is_said(tmp_path: Path, source: str, study: str | None, message: str) -> None:
    (tmp_path / "one.yaml").write_text("optimizer.lr: 1e-4\n", encoding="utf-8")
    (tmp_path / "empty.csv").write_text("optimizer.lr\n", encoding="utf-8")
    if "two" in source:
        for name in ("first", "second"):
            optuna.create_study(study_name=name, storage=JournalStorage(JournalFileBackend(f"{tmp_path}/two.log")))
    place = source.format(folder=tmp_path) if "{" in source else str(tmp_path / source)
    with pytest.raises(UserError, match=message):
        read_points(place, study, {})


def test_population_and_running_sweep_take_none(tmp_path: Path, space: str) -> None:
    open_tiny(tmp_path / "pbt", "population", scheduler="pbt")
    with pytest.raises(UserError, match=r"sweep s trains a population"):
        _enqueue(tmp_path / "pbt", _listed(tmp_path, {"optimizer.lr": 1e-4}))
    open_tiny(tmp_path, space)
    with (
        Lease.acquire(Storage(str(tmp_path / "s")), Launch.here()),
        pytest.raises(UserError, match=r"is held by process"),
    ):
        _enqueue(tmp_path, _listed(tmp_path, POINT))


def test_command_says_what_was_taken(
    tmp_path: Path, space: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    open_tiny(tmp_path, space)
    arguments = ["enqueue", "s", str(_listed(tmp_path, POINT, OTHER, POINT)), "--storage", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["concord", "sweep", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    told = f"2 points enqueued, 1 known already; concord sweep resume {tmp_path / 's'} tries them\n"
    assert capsys.readouterr().out == told
    monkeypatch.setattr("sys.argv", ["concord", "sweep", *arguments, "--json"])
    with pytest.raises(SystemExit):
        main()
    assert json.loads(capsys.readouterr().out) == {"enqueued": [], "known": 3}
