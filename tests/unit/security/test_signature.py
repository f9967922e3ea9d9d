"""With a signature key, what was altered is refused, also where its checksums were made to match."""

import hashlib
import hmac
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import multitask
from cluster.storage.checkpoint import find_checkpoint, verify
from cluster.storage.export_checkpoint import export_run
from cluster.storage.storage import Storage
from cluster.training.session import LocalSession
from cluster.training.worker import train
from multitask.config import parse_config
from multitask.errors import UserError
from multitask.signature import VARIABLE, check_key, key_name
from tests.builders import build_tiny_bert, tiny_config

KEY = "0123456789abcdef" * 4


@pytest.fixture(scope="module")
def signed(folder: Path) -> Path:
    """A run that was trained with a key."""
    (folder / "key").write_text(KEY + "\n")
    build_tiny_bert(folder / "encoder")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(folder / "key"))
        config = parse_config(tiny_config(folder, name="signed", training={"save_every": 4}), "test")
        assert train(config, LocalSession("cpu")).status == "finished"
    return folder / "runs/signed"


@pytest.fixture
def run(tmp_path: Path, signed: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, and the key in the environment."""
    monkeypatch.setenv(VARIABLE, str(folder / "key"))
    return Path(shutil.copytree(signed, tmp_path / "signed"))


def _newest(run: Path) -> Path:
    return sorted((run / "checkpoints").iterdir())[-1]


def _problem(run: Path) -> str | None:
    return verify(Storage(str(run)), f"checkpoints/{_newest(run).name}")


def _rewrite(file: Path, described: Path, key: str) -> None:
    """Change a byte of `file`, and its checksum in `described`."""
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    values = json.loads(described.read_text())
    values[key][file.name] = hashlib.sha256(data).hexdigest()
    described.write_text(json.dumps(values))


def test_signature_is_the_hmac_of_the_manifest(run: Path) -> None:
    manifest = _newest(run) / "manifest.json"
    wanted = hmac.new(KEY.encode(), manifest.read_bytes(), hashlib.sha256).hexdigest()
    assert (_newest(run) / "manifest.json.hmac").read_text().strip() == wanted
    assert _problem(run) is None
    assert multitask.load(run / "export").tasks


@pytest.mark.parametrize("kind", ["state.json", "shard-"])
def test_checksums_find_changed_bytes_of_a_checkpoint(run: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.delenv(VARIABLE)
    file = next(file for file in _newest(run).iterdir() if file.name.startswith(kind))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert _problem(run) == f"{file.name} differs from its checksum"


@pytest.mark.parametrize("name", ["model.safetensors", "heads.safetensors", "config.json", "tokenizer.json"])
def test_checksums_find_changed_bytes_of_an_export(run: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv(VARIABLE)
    file = run / "export" / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(UserError, match=f"{name} differs from its checksum"):
        multitask.load(run / "export")


def test_rewritten_manifest_is_found_by_the_key_alone(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = next(_newest(run).glob("shard-*"))
    _rewrite(shard, _newest(run) / "manifest.json", "files")
    assert "its signature is not of the key" in (_problem(run) or "")
    found, problems = find_checkpoint(Storage(str(run)))
    assert found is not None
    assert found.rpartition("/")[2] != _newest(run).name
    assert list(problems) == [_newest(run).name]
    with pytest.raises(UserError, match="its signature is not of the key"):
        export_run(str(run), str(run / "again"), "last")
    monkeypatch.delenv(VARIABLE)
    assert _problem(run) is None


def test_rewritten_export_is_found_by_the_key_alone(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _rewrite(run / "export/heads.safetensors", run / "export/concord.json", "sha256")
    with pytest.raises(UserError, match="its signature is not of the key"):
        multitask.load(run / "export")
    monkeypatch.delenv(VARIABLE)
    assert multitask.load(run / "export").tasks


def test_unsigned_and_signed_with_another_key_are_refused(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in (_newest(run) / "manifest.json.hmac", run / "export/concord.json.hmac"):
        place.unlink()
    assert _problem(run) == f"it is not signed, and {VARIABLE} is set"
    with pytest.raises(UserError, match="it is not signed"):
        multitask.load(run / "export")
    (tmp_path / "other").write_text("z" * 64)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "other"))
    found, problems = find_checkpoint(Storage(str(run)))
    assert found is None
    assert len(problems) == len(list((run / "checkpoints").iterdir()))


def test_signed_checkpoint_of_another_step_in_its_place_is_refused(run: Path) -> None:
    first, *_, last = sorted((run / "checkpoints").iterdir())
    shutil.rmtree(last)
    shutil.copytree(first, last)
    assert "its manifest is that of step" in (_problem(run) or "")


def test_file_beside_a_signed_export_is_refused(run: Path) -> None:
    (run / "export/adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match=r"adapter_config\.json is not in concord\.json"):
        multitask.load(run / "export")


def test_config_that_was_altered_is_not_exported_by(run: Path) -> None:
    file = run / "config.yaml"
    file.write_text(file.read_text().replace("pooling: mean", "pooling: cls"))
    with pytest.raises(UserError, match="is not the config that the signed checkpoint was trained by"):
        export_run(str(run), str(run / "again"), "last")


@pytest.mark.parametrize(("content", "message"), [(None, "cannot read"), ("short", "holds 5 bytes")])
def test_key_that_is_none_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, message: str, concord: Callable[..., Any]
) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv(VARIABLE, str(file))
    with pytest.raises(UserError, match=f"^{VARIABLE}: .*{message}"):
        key_name()


def test_worker_with_another_key_is_refused(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = key_name()
    check_key(name)
    assert KEY not in name
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(UserError, match="has another key, or none"):
        check_key(name)
    check_key("")
