"""The files of a run: begun, taken up again, damaged."""

import hashlib
import json
from typing import Any

import pytest

from cluster.storage.run_folder import RunFolder
from cluster.storage.storage import Storage
from multitask.config import RunConfig, override_config, parse_config
from multitask.errors import UserError


def _checkpoint(folder: RunFolder, config: RunConfig, run_id: str) -> None:
    """A whole checkpoint that holds its state alone."""
    state = json.dumps({"run_id": run_id, "config": config.to_dict()}).encode()
    where = "checkpoints/step-00000004"
    folder.storage.write(f"{where}/state.json", state)
    manifest = {"format": 2, "step": 4, "files": {"state.json": hashlib.sha256(state).hexdigest()}}
    folder.storage.write(f"{where}/manifest.json", json.dumps(manifest).encode())


def test_name_of_another_run_is_refused_with_what_differs(tiny_tasks: dict[str, Any]) -> None:
    config = parse_config(tiny_tasks, "test")
    folder = RunFolder.of(config)
    first = folder.start(config)
    _checkpoint(folder, config, first)
    assert folder.start(override_config(config, ["cluster.workers=3"])) == first
    assert folder.config().cluster.workers == 3
    with pytest.raises(UserError, match=r"differs in optimizer.lr, .*seed|differs in seed, .*optimizer.lr"):
        folder.start(override_config(config, ["optimizer.lr=0.5", "seed=9"]))
    with pytest.raises(UserError, match=r"is no run folder"):
        RunFolder(Storage("/nowhere")).config()


def test_run_of_an_older_version_goes_on_under_the_new_names(tiny_tasks: dict[str, Any]) -> None:
    config = parse_config(tiny_tasks, "test")
    folder = RunFolder.of(config)
    run_id = folder.start(config)
    config_yaml = folder.storage.read("config.yaml").decode()
    old = config_yaml.replace("rows_per_pass", "rows_per_epoch")
    assert old != config_yaml
    folder.storage.write("config.yaml", old.encode())
    assert folder.config() == config
    assert folder.start(config) == run_id
    assert folder.storage.read("config.yaml").decode() == config_yaml
    assert folder.notes == []


@pytest.mark.parametrize("writes", [0, 1])
def test_run_killed_while_its_folder_was_begun_can_be_started_again(
    tiny_tasks: dict[str, Any], monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    config, write, done = parse_config(tiny_tasks, "test"), Storage.write, []

    def killed(self: Storage, path: str, data: bytes) -> None:
        if len(done) == writes:
            raise KeyboardInterrupt
        done.append(path)
        write(self, path, data)

    with monkeypatch.context() as patch:
        patch.setattr(Storage, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            RunFolder.of(config).start(config)
    folder = RunFolder.of(config)
    run_id = folder.start(config)
    assert folder.start(config) == run_id
    assert folder.config() == config


def test_where_a_run_runs_may_change_and_is_kept(tiny_tasks: dict[str, Any]) -> None:
    config = parse_config(tiny_tasks, "test")
    folder = RunFolder.of(config)
    folder.start(config)
    moved = override_config(config, ["cluster.workers=2", "zero.stage=2", "tracking.tags=[a]", "training.log_every=3"])
    folder.start(moved)
    assert folder.config() == moved


def test_result_is_none_before_the_first(tiny_tasks: dict[str, Any]) -> None:
    folder = RunFolder.of(parse_config(tiny_tasks, "test"))
    assert folder.result() is None
    folder.write_result({"status": "finished", "words": "größer"})
    assert folder.result() == {"status": "finished", "words": "größer"}


def test_run_without_a_checkpoint_takes_a_new_config(tiny_tasks: dict[str, Any]) -> None:
    config = parse_config(tiny_tasks, "test")
    folder = RunFolder.of(config)
    run_id = folder.start(config)
    mended = override_config(config, ["data.max_length=20", "data.on_bad_rows=skip"])
    assert folder.start(mended) == run_id
    assert folder.config() == mended


@pytest.mark.parametrize("name", ["run.json", "config.yaml"])
@pytest.mark.parametrize("text", ["", "{", "[1", "[]", "\x00" * 40])
def test_damaged_file_is_set_aside_and_rebuilt_from_the_checkpoint(
    tiny_tasks: dict[str, Any], name: str, text: str
) -> None:
    config = parse_config(tiny_tasks, "test")
    folder = RunFolder.of(config)
    run_id = folder.start(config)
    _checkpoint(folder, config, run_id)
    folder.storage.write(name, text.encode())
    again = RunFolder.of(config)
    with pytest.raises(UserError, match="differs in seed"):
        again.start(override_config(config, ["seed=9"]))
    again = RunFolder.of(config)
    assert again.start(config) == run_id
    assert again.config() == config
    assert RunFolder.of(config).start(config) == run_id
    (aside,) = (file for file in folder.storage.files() if ".damaged-" in file)
    assert folder.storage.read(aside) == text.encode()


def test_what_was_set_aside_is_said(tiny_tasks: dict[str, Any]) -> None:
    config = parse_config(tiny_tasks, "test")
    folder = RunFolder.of(config)
    folder.start(config)
    folder.storage.write("history.json", b'{"train": [')
    assert folder.read_or_set_aside("history.json") is None
    assert folder.read_or_set_aside("history.json") is None
    (note,) = folder.notes
    assert "history.json: not valid JSON" in note
    assert "it was set aside as history.json.damaged-" in note


def test_numbers_that_json_has_not_are_null(tiny_tasks: dict[str, Any]) -> None:
    folder = RunFolder.of(parse_config(tiny_tasks, "test"))
    folder.write_result({"best_score": float("nan"), "history": [{"dev/mean": float("inf")}]})
    assert b"NaN" not in folder.storage.read("result.json")
    assert folder.result() == {"best_score": None, "history": [{"dev/mean": None}]}
