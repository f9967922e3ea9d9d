"""Files of a run: whole or absent, checked by checksum, refused where they belong to something else."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from cluster.launch.resources import plan_resources
from cluster.storage.checkpoint import find_checkpoint, prune, verify
from cluster.storage.probe import probe
from cluster.storage.shard_file import load_weights
from cluster.storage.storage import Storage
from multitask.config.cluster import ClusterConfig
from multitask.errors import UserError


@pytest.mark.parametrize("scheme", ["{}", "file://{}", "memory://{}"])
def test_files_come_back_as_they_were_written(tmp_path: Path, scheme: str) -> None:
    storage = Storage(scheme.format(tmp_path / "a")).below("run")
    assert not storage.exists("x/y.json")
    storage.write("x/y.json", b"one")
    storage.write("x/y.json", b"two")
    storage.write("x/z/deep.bin", b"three")
    assert storage.read("x/y.json") == b"two"
    assert storage.files("x") == ["y.json"]
    assert storage.folders("x") == ["z"]
    storage.delete_folder("x")
    assert not storage.exists("x/y.json")
    assert storage.files("x") == []


@pytest.mark.parametrize("scheme", ["{}", "file://{}", "memory://{}"])
def test_storage_inside_another_opens_no_file_system(
    tmp_path: Path, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    outer = Storage(scheme.format(tmp_path / "a"))
    with monkeypatch.context() as closed:
        closed.setattr("cluster.storage.storage.open_location", None)
        closed.setattr("pyarrow.fs.LocalFileSystem", None)
        inner = outer.below("run").below("x")
    assert inner.location == scheme.format(tmp_path / "a/run/x")
    inner.write("file", b"deep")
    assert outer.read("run/x/file") == Storage(inner.location).read("file") == b"deep"


def test_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage(str(tmp_path))
    storage.write("file", b"old")
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("no space")))
    with pytest.raises(OSError, match=r"no space"):
        storage.write("file", b"new")
    assert storage.read("file") == b"old"
    assert storage.files() == ["file"]


def test_place_that_cannot_be_written_is_told_by_its_key(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UserError, match=r"cluster.storage: cannot write to"):
        probe(Storage(str(tmp_path / "file" / "runs")), 0, 1, "a", lambda action: action())
    with pytest.raises(UserError, match=r"what rank 1 wrote is not seen in"):
        probe(Storage(str(tmp_path / "runs")), 0, 2, "a", lambda action: action())
    probe(Storage(str(tmp_path / "runs")), 0, 1, "a", lambda action: action())
    assert not (tmp_path / "runs" / "probe").exists()
    with pytest.raises(UserError, match=r"cluster.storage: cannot use 'nothing://x'"):
        Storage("nothing://x")


def _checkpoint(storage: Storage, step: int, **files: bytes) -> str:
    folder = f"checkpoints/step-{step:08d}"
    for name, data in files.items():
        storage.write(f"{folder}/{name}", data)
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    storage.write(f"{folder}/manifest.json", json.dumps({"format": 2, "step": step, "files": sums}).encode())
    return folder


def test_newest_whole_checkpoint_is_found_and_the_others_explained(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    assert find_checkpoint(storage) == (None, {})
    good = _checkpoint(storage, 1, shard=b"1")
    altered, missing, torn, other, unfinished = (_checkpoint(storage, s, shard=b"2") for s in (2, 3, 4, 5, 6))
    storage.write(f"{altered}/shard", b"3")
    (tmp_path / missing / "shard").unlink()
    (tmp_path / torn / "manifest.json").write_text('{"format": 1, "st')
    (tmp_path / other / "manifest.json").write_text('{"format": 9}')
    (tmp_path / unfinished / "manifest.json").unlink()
    found, problems = find_checkpoint(storage)
    assert found == good
    for problem, told in zip(
        problems.values(),
        ["not finished", "format 9", "cannot be read", "shard is missing", "differs from its checksum"],
        strict=True,
    ):
        assert told in problem
    assert verify(storage, good) is None


def test_pruning_keeps_the_best_and_the_two_last(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    for step in range(1, 7):
        _checkpoint(storage, step, shard=b"x")
    prune(storage, 6, best=2)
    assert storage.folders("checkpoints") == [f"step-{s:08d}" for s in (2, 5, 6)]


def test_weights_are_put_together_from_fragments_of_several_shards(tmp_path: Path) -> None:
    storage, whole = Storage(str(tmp_path)), torch.arange(10.0)
    cuts = [
        ({"w": {"start": 0, "size": 4, "group": 0, "offset": 2}}, torch.cat([torch.full((2,), -1.0), whole[:4]])),
        ({"w": {"start": 4, "size": 6, "group": 0, "offset": 0}}, torch.cat([whole[4:], torch.full((3,), -1.0)])),
    ]
    for rank, (owned, flat) in enumerate(cuts):
        data = save({"0/master": flat}, metadata={"concord": json.dumps({"owned": owned, "numbers": {}})})
        storage.write(f"checkpoints/step-00000001/shard-{rank:05d}-of-00002.safetensors", data)
    assert torch.equal(load_weights(storage, "checkpoints/step-00000001")["w"], whole)


NODES = [{"CPU": 4.0, "GPU": 1.0}, {"CPU": 4.0}]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"workers": 9, "device": "cpu"}, "asks for 9 CPU .* has 8 CPU on 2 nodes"),
        ({"workers": 2, "device": "gpu"}, "asks for 2 GPU .* has 1 GPU"),
        ({"workers": 2, "device": "cpu", "cpus_per_worker": 3}, None),
        ({"workers": 1, "device": "cpu", "cpus_per_worker": 5}, "only 0 of them fit .* no node has more than 4 CPU"),
    ],
)
def test_resources_are_refused_with_the_numbers(asked: dict[str, Any], told: str | None) -> None:
    if told is None:
        assert plan_resources(ClusterConfig(**asked), NODES).workers == asked["workers"]
    else:
        with pytest.raises(UserError, match=told):
            plan_resources(ClusterConfig(**asked), NODES)


def test_device_is_found() -> None:
    assert plan_resources(ClusterConfig(), NODES).use_gpu
    assert not plan_resources(ClusterConfig(), NODES[1:]).use_gpu
    assert plan_resources(ClusterConfig(), NODES[1:]).per_worker == {"CPU": 1.0}
