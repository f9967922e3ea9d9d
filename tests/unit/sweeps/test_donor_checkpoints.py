"""A population's trial goes on from its donor's checkpoints, as the tracked run that it was."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from cluster.storage.checkpoint import FORMAT, find_checkpoint
from cluster.storage.lease_record import Launch
from cluster.storage.run_folder import RunFolder
from cluster.storage.storage import Storage
from cluster.sweeps.trial_checkpoints import take_over_checkpoints
from multitask.config import RunConfig
from multitask.errors import UserError
from tests.unit.sweeps.recipes import recipe

LAUNCH = Launch.here()


def _checkpoint(place: Path, run: str, step: int, best: int | None, weights: bytes = b"w") -> Path:
    """A checkpoint as a run of one worker leaves it; `weights` in place of tensors."""
    folder = place / run / f"checkpoints/step-{step:08d}"
    folder.mkdir(parents=True)
    progress = {
        "step": step,
        "best_step": best,
        "rows": 10 * step,
        "tokens": 100 * step,
        "history": [{}] * (step // 10),
    }
    state = json.dumps({"format": FORMAT, "step": step, "progress": progress}).encode()
    files = {"shard-00000-of-00001.safetensors": weights + str(step).encode(), "state.json": state}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    (folder / "manifest.json").write_text(json.dumps({"format": FORMAT, "step": step, "files": sums}))
    return folder


def _previous(place: Path, run: str = "s-002") -> None:
    """What a run leaves besides: its id, its W&B ledger and its course."""
    folder = RunFolder(Storage(str(place / run)))
    folder.storage.write("run.json", json.dumps({"run_id": f"{run}-abcd"}).encode())
    folder.storage.write(f"wandb/{run}-abcd.json", b'{"fragments": 1}')
    folder.write_json("history.json", {"train": [], "dev": [{"step": 10, "dev/mean": 0.1}]})


def _config(place: Path, **changes: Any) -> RunConfig:
    return recipe(name="s-002-g1", cluster={"storage": str(place)}, **changes)


def _steps(place: Path, run: str = "s-002-g1") -> list[str]:
    return sorted(path.name for path in (place / run / "checkpoints").iterdir())


def test_newest_and_best_checkpoint_are_copied(tmp_path: Path) -> None:
    _previous(tmp_path)
    for step in (10, 20, 30, 40):
        _checkpoint(tmp_path, "s-001", step, best=20)
    take_over_checkpoints(_config(tmp_path), "s-001", "s-002", LAUNCH)
    assert _steps(tmp_path) == ["step-00000020", "step-00000040"]
    for step in ("step-00000020", "step-00000040"):
        ours, theirs = (tmp_path / run / "checkpoints" / step for run in ("s-002-g1", "s-001"))
        assert {p.name: p.read_bytes() for p in ours.iterdir()} == {p.name: p.read_bytes() for p in theirs.iterdir()}
    assert _steps(tmp_path, "s-001") == [f"step-000000{step}" for step in (10, 20, 30, 40)]
    # The donor may have gone on since it was chosen.
    started = RunFolder(Storage(str(tmp_path / "s-002-g1"))).read_json("inherited.json")
    assert started == {"iteration": 4, "step": 40, "rows": 400, "tokens": 4000}


@pytest.mark.parametrize("best", [30, None])
def test_one_checkpoint_may_be_both_or_the_only_one(tmp_path: Path, best: int | None) -> None:
    _previous(tmp_path)
    _checkpoint(tmp_path, "s-001", 30, best)
    take_over_checkpoints(_config(tmp_path), "s-001", "s-002", LAUNCH)
    assert _steps(tmp_path) == ["step-00000030"]


def test_checkpoint_that_is_torn_is_passed_over(tmp_path: Path) -> None:
    _previous(tmp_path)
    _checkpoint(tmp_path, "s-001", 20, best=20)
    (_checkpoint(tmp_path, "s-001", 30, best=30) / "manifest.json").unlink()
    take_over_checkpoints(_config(tmp_path), "s-001", "s-002", LAUNCH)
    assert _steps(tmp_path) == ["step-00000020"]


def test_trial_stays_the_tracked_run_that_it_was_with_its_new_config(tmp_path: Path) -> None:
    _previous(tmp_path)
    _previous(tmp_path, "s-001")
    _checkpoint(tmp_path, "s-001", 20, best=20)
    config = _config(tmp_path, optimizer={"lr": 0.5})
    take_over_checkpoints(config, "s-001", "s-002", LAUNCH)
    folder = RunFolder.of(config)
    run, history = json.loads(folder.storage.read("run.json")), folder.read_json("history.json")
    assert run.pop("attempt") == (history or {}).pop("attempt")
    assert run == {"run_id": "s-002-abcd"}
    assert folder.storage.read("wandb/s-002-abcd.json") == b'{"fragments": 1}'
    assert history == {"train": [], "dev": [{"step": 10, "dev/mean": 0.1}]}
    assert folder.config() == config
    # The run that it becomes takes it for its own.
    assert folder.start(config) == "s-002-abcd"


def test_run_that_has_begun_is_left_alone(tmp_path: Path) -> None:
    _previous(tmp_path)
    _checkpoint(tmp_path, "s-001", 20, best=20)
    take_over_checkpoints(_config(tmp_path), "s-001", "s-002", LAUNCH)
    _checkpoint(tmp_path, "s-001", 30, best=30)
    _checkpoint(tmp_path, "s-002-g1", 25, best=20)
    take_over_checkpoints(_config(tmp_path), "s-001", "s-002", LAUNCH)
    assert _steps(tmp_path) == ["step-00000020", "step-00000025"]


def test_copy_that_was_cut_off_is_made_anew(tmp_path: Path) -> None:
    _previous(tmp_path)
    _checkpoint(tmp_path, "s-001", 20, best=20)
    half = tmp_path / "s-002-g1/checkpoints/step-00000090"
    half.mkdir(parents=True)
    (half / "state.json").write_text("{")
    take_over_checkpoints(_config(tmp_path), "s-001", "s-002", LAUNCH)
    assert _steps(tmp_path) == ["step-00000020"]


@pytest.mark.parametrize("when", ["before", "after a part"])
def test_donor_may_remove_a_checkpoint_while_it_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    _previous(tmp_path)
    old = _checkpoint(tmp_path, "s-001", 20, best=20)
    real, calls = Storage.copy_folder, list[str]()

    def copy(self: Storage, source: Storage, path: str) -> None:
        calls.append(path)
        if len(calls) == 1:
            # The donor has gone on and pruned.
            _checkpoint(tmp_path, "s-001", 30, best=30)
            if when != "before":
                (old / "manifest.json").unlink()
                real(self, source, path)
            Storage(str(tmp_path / "s-001")).delete_folder("checkpoints/step-00000020")
            if when != "before":
                return
        real(self, source, path)

    monkeypatch.setattr(Storage, "copy_folder", copy)
    take_over_checkpoints(_config(tmp_path), "s-001", "s-002", LAUNCH)
    assert len(calls) == 2
    assert _steps(tmp_path) == ["step-00000030"]
    assert find_checkpoint(Storage(str(tmp_path / "s-002-g1"))) == ("checkpoints/step-00000030", {})


@pytest.mark.parametrize("donor", ["empty", "torn", "missing"])
def test_donor_without_a_whole_checkpoint_is_said(tmp_path: Path, donor: str) -> None:
    _previous(tmp_path)
    if donor != "missing":
        (tmp_path / donor).mkdir()
    if donor == "torn":
        folder = _checkpoint(tmp_path, donor, 20, best=20)
        (folder / "shard-00000-of-00001.safetensors").write_bytes(b"other")
    with pytest.raises(UserError, match=rf"{donor} holds no whole checkpoint to go on from"):
        take_over_checkpoints(_config(tmp_path), donor, "s-002", LAUNCH)
    # So it is tried again when the sweep goes on.
    assert not (tmp_path / "s-002-g1/run.json").exists()
