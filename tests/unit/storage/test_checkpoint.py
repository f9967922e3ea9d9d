"""Checkpoints written by hand, broken in every way, and put together again."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from cluster.storage.checkpoint import find_checkpoint, prune, verify
from cluster.storage.shard_file import load_weights
from cluster.storage.storage import Storage

FOLDER = "checkpoints/step-00000004"


def _write(storage: Storage, folder: str, manifest: object) -> None:
    storage.write(f"{folder}/manifest.json", json.dumps(manifest).encode())


@pytest.mark.parametrize(
    ("manifest", "problem"),
    [
        ([], "its manifest cannot be read"),
        ("text", "its manifest cannot be read"),
        ({}, "its manifest cannot be read"),
        ({"format": 2}, "its manifest cannot be read"),
        ({"format": 2, "files": 3}, "its manifest cannot be read"),
        ({"format": 1, "files": {}}, "format 1, this version reads 2"),
        ({"format": 2, "files": {"state.json": "0"}}, "state.json is missing"),
        ({"format": 2, "files": {}}, None),
    ],
)
def test_every_manifest_is_judged(tmp_path: Path, manifest: object, problem: str | None) -> None:
    storage = Storage(str(tmp_path))
    _write(storage, FOLDER, manifest)
    assert verify(storage, FOLDER) == problem


@pytest.mark.parametrize("data", [b"", b"\xff\xfe\x00", b'{"format": 2, "files": {"a"'])
def test_torn_manifest_is_judged(tmp_path: Path, data: bytes) -> None:
    storage = Storage(str(tmp_path))
    storage.write(f"{FOLDER}/manifest.json", data)
    assert verify(storage, FOLDER) == "its manifest cannot be read"


def test_problems_come_newest_first_with_the_checkpoints_name(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    for step in (2, 9, 10, 11):
        _write(storage, f"checkpoints/step-{step:08d}", {"format": 2 if step == 9 else 7, "files": {}})
    found, problems = find_checkpoint(storage)
    assert found == "checkpoints/step-00000009"
    assert list(problems) == ["step-00000011", "step-00000010"]


@pytest.mark.parametrize(("best", "kept"), [(None, [4, 5]), (1, [1, 4, 5]), (5, [4, 5])])
def test_pruning(tmp_path: Path, best: int | None, kept: list[int]) -> None:
    storage = Storage(str(tmp_path))
    prune(storage, 5, best)
    for step in range(1, 6):
        _write(storage, f"checkpoints/step-{step:08d}", {})
    prune(storage, 5, best)
    assert storage.folders("checkpoints") == [f"step-{step:08d}" for step in kept]


def test_pruning_counts_only_what_is_whole_and_has_been_reached(tmp_path: Path) -> None:
    """400 was resumed, since 500 was damaged, and 600 was just written; of the newer ones one is unfinished, one damaged."""
    storage = Storage(str(tmp_path))
    for step in (300, 350, 400, 500, 600, 1200):
        _write(storage, f"checkpoints/step-{step:08d}", {})
    for step in (450, 1100):
        storage.write(f"checkpoints/step-{step:08d}/state.json", b"{}")
    damaged = ["step-00000500", "step-00001200"]
    prune(storage, 600, 300, damaged)
    assert storage.folders("checkpoints") == [f"step-{step:08d}" for step in (300, 400, 600, 1100, 1200)]


def test_storage_that_does_not_answer_says_nothing_of_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, folders, read = Storage(str(tmp_path)), [], Storage.read
    for step in (1, 2):
        folders.append(f"checkpoints/step-{step:08d}")
        storage.write(f"{folders[-1]}/state.json", b"{}")
        _write(storage, folders[-1], {"format": 2, "files": {"state.json": hashlib.sha256(b"{}").hexdigest()}})

    def refuse(self: Storage, path: str) -> bytes:
        if path == f"{folders[1]}/state.json":
            raise TimeoutError("the store is away")
        return read(self, path)

    monkeypatch.setattr(Storage, "read", refuse)
    with pytest.raises(TimeoutError):
        find_checkpoint(storage)


def _shard(storage: Storage, name: str, owned: dict[str, tuple[int, int, int, int]], *groups: torch.Tensor) -> None:
    keys = ("start", "size", "group", "offset")
    table = {parameter: dict(zip(keys, fragment, strict=True)) for parameter, fragment in owned.items()}
    tensors = {f"{number}/master": flat for number, flat in enumerate(groups)}
    tensors |= {f"{number}/exp_avg": torch.full_like(flat, -7) for number, flat in enumerate(groups)}
    storage.write(f"{FOLDER}/{name}", save(tensors, metadata={"concord": json.dumps({"owned": table, "numbers": {}})}))


def test_weights_of_several_groups_are_cut_anywhere(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    one, two, three = torch.arange(10.0), 100 + torch.arange(6.0), 200 + torch.arange(4.0)
    pad = torch.full((2,), -1.0)
    # `one` straddles three ranks, `two` lies in another group, `three` behind `one`; ranks end in padding.
    _shard(
        storage,
        "shard-00000-of-00003.safetensors",
        {"one": (0, 3, 0, 0), "two": (0, 6, 1, 1)},
        one[:3],
        torch.cat([pad[:1], two]),
    )
    _shard(storage, "shard-00001-of-00003.safetensors", {"one": (3, 4, 0, 2)}, torch.cat([pad, one[3:7], pad]))
    _shard(
        storage,
        "shard-00002-of-00003.safetensors",
        {"one": (7, 3, 0, 0), "three": (0, 4, 0, 3)},
        torch.cat([one[7:], three, pad]),
    )
    found = load_weights(storage, FOLDER)
    assert set(found) == {"one", "two", "three"}
    for name, wanted in (("one", one), ("two", two), ("three", three)):
        assert torch.equal(found[name], wanted)


def test_shard_that_a_killed_writer_left_half_is_not_read(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    _shard(storage, "shard-00000-of-00001.safetensors", {"one": (0, 4, 0, 0)}, torch.arange(4.0))
    storage.write(f"{FOLDER}/shard-00000-of-00001.safetensors.host.17.part", b"half")
    assert torch.equal(load_weights(storage, FOLDER)["one"], torch.arange(4.0))
