"""Names in files of a folder, and links, lead nowhere outside of it."""

import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from cluster.storage.checkpoint import verify
from cluster.storage.run_folder import RunFolder
from cluster.storage.storage import Storage
from cluster.sweeps.create import check_name
from cluster.sweeps.store import SweepStore
from multitask.config import parse_config
from multitask.errors import UserError
from tests.unit.sweeps.tiny_sweeps import open_tiny

OUTSIDE = ["../x", "a/../../x", "..", "/etc/passwd", "a/..", "a\\..\\x", "a\0b"]
STEP = "checkpoints/step-00000004"


@pytest.mark.parametrize("path", OUTSIDE)
def test_storage_reads_and_writes_nothing_outside(tmp_path: Path, path: str) -> None:
    storage = Storage(str(tmp_path / "run"))
    for action in (
        storage.read,
        storage.exists,
        storage.delete_file,
        storage.delete_folder,
        storage.files,
        storage.below,
    ):
        with pytest.raises(UserError, match="leaves its folder"):
            action(path)
    with pytest.raises(UserError, match="leaves its folder"):
        storage.write(path, b"x")
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize("file", [*OUTSIDE, "deeper/x"])
def test_manifest_that_names_files_elsewhere_is_refused(tmp_path: Path, file: str) -> None:
    storage = Storage(str(tmp_path))
    storage.write(f"{STEP}/manifest.json", json.dumps({"format": 2, "files": {file: "0"}}).encode())
    assert verify(storage, STEP) == "its manifest cannot be read"


def test_shard_that_no_manifest_names_is_refused(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    storage.write(f"{STEP}/manifest.json", b'{"format": 2, "files": {}}')
    assert verify(storage, STEP) is None
    storage.write(f"{STEP}/shard-00001-of-00002.safetensors", b"x")
    assert verify(storage, STEP) == "shard-00001-of-00002.safetensors is not in its manifest"


@pytest.mark.parametrize("name", ["../x", "/x", "..", ".", "a/b", "", ".x", "a\n"])
def test_names_of_runs_tasks_and_sweeps_are_names(tiny_tasks: dict[str, Any], name: str) -> None:
    with pytest.raises(UserError, match="name"):
        parse_config(tiny_tasks | {"name": name}, "test")
    with pytest.raises(UserError, match="--name"):
        check_name(name)
    with pytest.raises(UserError, match="task's name"):
        parse_config(tiny_tasks | {"tasks": {name: tiny_tasks["tasks"]["sst"]}}, "test")


def test_id_of_a_run_that_is_a_path_is_set_aside(tiny_tasks: dict[str, Any]) -> None:
    """W&B's file of a run is called by it."""
    config = parse_config(tiny_tasks, "test")
    RunFolder.of(config).start(config)
    RunFolder.of(config).write_json("run.json", {"run_id": "../../elsewhere"})
    folder = RunFolder.of(config)
    assert folder.start(config).startswith("tiny-")
    assert "its run_id is no name" in folder.notes[0]


def test_record_of_a_trial_names_its_own_folder(tmp_path: Path) -> None:
    open_tiny(tmp_path)
    file = tmp_path / "s/trials/s-000/trial.json"
    file.write_text(file.read_text().replace('"run": "s-000"', '"run": "../../elsewhere"'))
    with pytest.raises(UserError, match="it is the record of"):
        SweepStore.find(str(tmp_path / "s")).read()


def test_link_in_place_of_a_file_or_folder_is_replaced_and_not_followed(tmp_path: Path) -> None:
    own, other = tmp_path / "run", tmp_path / "other"
    (other / "kept").mkdir(parents=True)
    (other / "kept/file").write_text("mine")
    own.mkdir()
    (own / "result.json").symlink_to(other / "kept/file")
    (own / "probe").symlink_to(other / "kept")
    storage = Storage(str(own))
    storage.write("result.json", b"{}")
    assert not (own / "result.json").is_symlink()
    with suppress(OSError):
        storage.delete_folder("probe")
    assert (other / "kept/file").read_text() == "mine"
    shutil.rmtree(tmp_path / "run")
