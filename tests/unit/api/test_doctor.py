"""A folder damaged in each way is told of, mended, and resumed to the bits of a run that nothing happened to."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cluster.api.doctor import examine
from cluster.sweeps.store import SweepStore
from cluster.training.session import LocalSession
from cluster.training.worker import train
from multitask.config import parse_config
from multitask.errors import UserError
from tests.builders import build_tiny_bert, tiny_config
from tests.integration.commands import final_files
from tests.unit.sweeps.tiny_sweeps import open_tiny, reported

Damage = Callable[[Path], object]
TRAINING = {"save_every": 4, "log_every": 5}


@pytest.fixture(scope="module")
def whole(folder: Path) -> Path:
    """The folder of a finished run."""
    build_tiny_bert(folder / "encoder")
    config = parse_config(tiny_config(folder, name="whole", training=TRAINING), "test")
    assert train(config, LocalSession("cpu")).status == "finished"
    return folder / "runs/whole"


def _newest(run: Path) -> Path:
    return sorted((run / "checkpoints").iterdir())[-1]


def _halve(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _write(file: Path, data: bytes = b"x") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)


def _flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def _unreleased(run: Path) -> None:
    """The lease of a process of this host that was killed."""
    (file,) = (run / "lease").iterdir()
    record = json.loads(file.read_text())
    record["released"] = False
    for key in (record["process"], record["launch"]["process"]):
        key["pid"], key["started"] = 2**22 + 1, "1"
    file.write_text(json.dumps(record))


# What is done to the run, and where the doctor says that something is wrong.
DAMAGES: dict[str, tuple[Damage, str]] = {
    "unfinished checkpoint": (lambda run: (_newest(run) / "manifest.json").unlink(), "checkpoints/step-"),
    "torn manifest": (lambda run: _halve(_newest(run) / "manifest.json"), "checkpoints/step-"),
    "torn shard": (lambda run: _halve(next(_newest(run).glob("shard-*"))), "checkpoints/step-"),
    "altered state": (lambda run: _flip(_newest(run) / "state.json"), "checkpoints/step-"),
    "missing shard": (lambda run: next(_newest(run).glob("shard-*")).unlink(), "checkpoints/step-"),
    "file beside the manifest": (lambda run: _write(_newest(run) / "shard.x.part"), "checkpoints/step-"),
    "config": (lambda run: _halve(run / "config.yaml"), "config.yaml"),
    "no config": (lambda run: (run / "config.yaml").unlink(), "config.yaml"),
    "run.json": (lambda run: _halve(run / "run.json"), "run.json"),
    "history": (lambda run: _halve(run / "history.json"), "history.json"),
    "result": (lambda run: _halve(run / "result.json"), "result.json"),
    "best tables": (lambda run: _halve(run / "best_tables.json"), "best_tables.json"),
    "predictions": (lambda run: _halve(run / "dev_predictions.safetensors"), "dev_predictions.safetensors"),
    "set aside": (lambda run: _write(run / "run.json.damaged-20260101T000000Z"), "run.json.damaged-"),
    "written aside": (lambda run: _write(run / "result.json.0a1b2c3d.part"), "result.json.0a1b2c3d.part"),
    "unfinished export": (lambda run: _write(run / ".export.17.part/config.json"), ".export.17.part"),
    "probe": (lambda run: _write(run / "probe/abc/0"), "probe"),
    "ray": (lambda run: _write(run / "ray/20260101/x.json"), "ray"),
    "stale lease": (_unreleased, "lease/"),
    "earlier lease": (lambda run: _write(run / "lease/00000000.json"), "lease/00000000.json"),
    "missing export": (lambda run: shutil.rmtree(run / "export"), "export"),
    "altered weights of the export": (lambda run: _flip(run / "export/model.safetensors"), "export"),
    "altered tokenizer of the export": (lambda run: _flip(run / "export/tokenizer.json"), "export"),
    "ledger of W&B": (lambda run: _write(run / "wandb/whole-1.json", b"{"), "wandb/whole-1.json"),
    "nothing in a W&B file": (
        lambda run: _write(run / "wandb/offline-run-1-a/run-a.wandb", b""),
        "wandb/offline-run-1-a",
    ),
}


def _state(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_told_mended_and_resumed_as_if_nothing_had_been(folder: Path, whole: Path, name: str) -> None:
    damage, where = DAMAGES[name]
    run = folder / "runs" / name.replace(" ", "-").replace("&", "")
    shutil.copytree(whole, run)
    assert examine(str(run)).findings == ()
    damage(run)
    before = _state(run)
    told = examine(str(run))
    assert len(told.findings) == 1, told.findings
    assert told.findings[0].path.startswith(where)
    assert _state(run) == before
    mended = examine(str(run), fix=True)
    assert mended.findings
    assert mended.left == ()
    # What was set aside is still there; nothing else is.
    assert all(".damaged-" in finding.path for finding in examine(str(run)).findings)
    config = parse_config(tiny_config(folder, name=run.name, training=TRAINING), "test")
    assert train(config, LocalSession("cpu")).status == "finished"
    first, second = final_files(whole), final_files(run)
    assert {k: v for k, v in first.items() if k != "state.json"} == {
        k: v for k, v in second.items() if k != "state.json"
    }
    assert examine(str(run), fix=True).left == ()
    assert examine(str(run)).findings == ()


def test_the_last_that_is_left_is_not_removed(folder: Path, whole: Path) -> None:
    run = folder / "runs/lost"
    shutil.copytree(whole, run)
    for checkpoint in (run / "checkpoints").iterdir():
        _flip(checkpoint / "state.json")
    before = _state(run / "checkpoints")
    told = examine(str(run), fix=True)
    assert {finding.path.partition("/")[0] for finding in told.left} == {"checkpoints"}
    assert _state(run / "checkpoints") == before


def test_checkpoint_of_another_version_or_key_is_left_alone(
    folder: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = folder / "runs/other-version"
    shutil.copytree(whole, run)
    manifest = _newest(run) / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"format": 2', '"format": 3'))
    (tmp_path / "key").write_text("k" * 40)
    monkeypatch.setenv("CONCORD_SIGNATURE_KEY_FILE", str(tmp_path / "key"))
    before = _state(run / "checkpoints")
    assert len(examine(str(run), fix=True).left) == 1 + len(list((run / "checkpoints").iterdir()))
    assert _state(run / "checkpoints") == before


def test_exit_codes_and_lines(folder: Path, whole: Path, concord: Callable[..., Any]) -> None:
    run = folder / "runs/coded"
    shutil.copytree(whole, run)
    assert concord("doctor", str(run)).code == 0
    _write(run / "probe/abc/0")
    told = concord("doctor", "coded", "--storage", str(folder / "runs"))
    assert told.code == 1
    assert told.out == ("probe: a start was ended while it looked at the storage; can be mended by --fix: remove it\n")
    mended = concord("doctor", str(run), "--fix", "--json")
    assert mended.code == 0
    assert json.loads(mended.out)["findings"][0]["mended"] is True
    missing = concord("doctor", str(folder / "nowhere"))
    assert missing.code == 2
    assert missing.err.count("\n") == 1


def test_owner_that_lives_is_left_alone(folder: Path, whole: Path) -> None:
    from cluster.storage.lease import Lease
    from cluster.storage.lease_record import Launch
    from cluster.storage.storage import Storage

    run = folder / "runs/busy"
    shutil.copytree(whole, run)
    _write(run / "probe/abc/0")
    with Lease.acquire(Storage(str(run)), Launch.here()):
        told = examine(str(run))
        assert told.findings == ()
        assert f"process {os.getpid()}" in (told.busy or "")
        with pytest.raises(UserError, match="is held by"):
            examine(str(run), fix=True)


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """A sweep of which two trials have ended, and one runs."""
    ledger = open_tiny(tmp_path)
    for scores in ((0.2, 0.3), (0.6, 0.5)):
        trial = ledger.next()
        assert trial is not None
        folder = ledger.run_folder(trial)
        folder.start(ledger.config(trial))
        reported(ledger, trial, *scores)
        history = [
            {
                "step": 10 * n,
                "epoch": n,
                "rows": 100 * n,
                "tokens": 1000 * n,
                "dev/mean": score,
                "dev/sst/accuracy": 0.5,
            }
            for n, score in enumerate(scores, 1)
        ]
        folder.write_result({"status": "finished", "history": history, "best_step": 10})
        ledger.end(trial.run, "finished", None)
    ledger.store.write_state({"status": "stopped", "elapsed": 3.0, "heartbeat": 0.0, "host": "h", "pid": 1})
    return tmp_path / "s"


SWEEP_DAMAGES: dict[str, tuple[Damage, str]] = {
    "state": (lambda sweep: _halve(sweep / "state.json"), "state.json"),
    "confirmations": (
        lambda sweep: _write(sweep / "confirmations.json", b'{"confirmations": [1]}'),
        "confirmations.json",
    ),
    "record of a trial": (lambda sweep: _halve(sweep / "trials/s-001/trial.json"), "trials/s-001/trial.json"),
    "record of the recipe": (lambda sweep: _halve(sweep / "trials/s-000/trial.json"), "trials/s-000/trial.json"),
    "record of another trial": (
        lambda sweep: shutil.copy(sweep / "trials/s-000/trial.json", sweep / "trials/s-001/trial.json"),
        "trials/s-001/trial.json",
    ),
    "orphan": (lambda sweep: _write(sweep / "trials/s-777/history.json", b"{}"), "trials/s-777"),
    "run folder": (lambda sweep: _halve(sweep / "trials/s-001/run.json"), "trials/s-001/run.json"),
    "stop": (lambda sweep: _write(sweep / "stop", b""), "stop"),
    "probe of a trial": (lambda sweep: _write(sweep / "trials/s-001/probe/a/0"), "trials/s-001/probe"),
}


@pytest.mark.parametrize("name", SWEEP_DAMAGES)
def test_sweep_is_mended_and_goes_on_with_all_that_its_trials_reached(sweep: Path, name: str) -> None:
    before = {trial.run: trial for trial in SweepStore.find(str(sweep)).read().trials}
    assert examine(str(sweep)).findings == ()
    damage, where = SWEEP_DAMAGES[name]
    damage(sweep)
    told = examine(str(sweep))
    assert [finding.path for finding in told.findings] == [where]
    assert examine(str(sweep), fix=True).left == ()
    assert all(".damaged-" in finding.path for finding in examine(str(sweep)).findings)
    ledger = open_tiny(sweep.parent)
    after = {trial.run: trial for trial in ledger.trials}
    assert after.keys() == before.keys()
    for run, trial in before.items():
        known = [(r.step, r.rows, r.scores["dev/mean"]) for r in trial.reports]
        assert [(r.step, r.rows, r.scores["dev/mean"]) for r in after[run].reports] == known
        assert (after[run].sample, after[run].status) == (trial.sample, trial.status)
        assert after[run].planned_rows == trial.planned_rows


def test_plan_that_is_lost_is_said(sweep: Path) -> None:
    _halve(sweep / "sweep.json")
    told = examine(str(sweep), fix=True)
    assert [finding.path for finding in told.left] == ["sweep.json"]


def test_recipes_of_sweeps_hold_no_secret(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^data\.root: a sweep keeps its recipe .* holds a secret") as refused:
        open_tiny(tmp_path, changes=("data.root=s3://me:hunter22@bucket/x",))
    assert "hunter22" not in str(refused.value)
    assert not (tmp_path / "s").exists()


def test_folder_whose_record_was_set_aside_is_no_orphan(sweep: Path) -> None:
    (sweep / "trials/s-001/trial.json").rename(sweep / "trials/s-001/trial.json.damaged-20260101T000000Z")
    before = (sweep / "trials/s-001/result.json").read_bytes()
    assert examine(str(sweep), fix=True).left == ()
    assert (sweep / "trials/s-001/result.json").read_bytes() == before
