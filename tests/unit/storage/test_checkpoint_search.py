"""Ranks verify and read a checkpoint together: each its own shard, and of others' shards what overlaps; bytes are counted."""

import hashlib
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
import torch
from safetensors.torch import save

from cluster.storage.checkpoint_restore import _restore_overlaps
from cluster.storage.checkpoint_search import Found, search_checkpoint
from cluster.storage.shard_file import decode_shard, shard_name
from cluster.storage.storage import Storage
from cluster.zero.optimizer_state import FlatState
from cluster.zero.partition import Fragment, Partition

T = TypeVar("T")
NAMES, SIZE = ("a", "b", "c", "d"), 30


class CountingStorage(Storage):
    """Counts what is read, by file."""

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self.bytes_read: dict[str, int] = {}

    def _count(self, path: str, size: int) -> None:
        name = path.rpartition("/")[2]
        self.bytes_read[name] = self.bytes_read.get(name, 0) + size

    def read(self, path: str) -> bytes:
        data = super().read(path)
        self._count(path, len(data))
        return data

    def read_ranges(self, path: str, ranges: Any) -> list[bytes]:
        parts = super().read_ranges(path, ranges)
        self._count(path, sum(map(len, parts)))
        return parts


class Together:
    """Ranks that are threads."""

    def __init__(self, world: int) -> None:
        self._barrier, self._values = threading.Barrier(world), [None] * world

    def of(self, rank: int) -> Any:
        def gather(value: T) -> list[T]:
            self._values[rank] = value  # type: ignore[call-overload]
            self._barrier.wait(60)
            values: list[Any] = list(self._values)
            self._barrier.wait(60)
            return values

        def from_rank_zero(action: Callable[[], T]) -> T:
            return gather(action() if rank == 0 else None)[0]  # type: ignore[return-value]

        return SimpleNamespace(gather=gather, from_rank_zero=from_rank_zero, on_every_rank=lambda action: action())


def _flat_cut(world: int) -> list[dict[str, Fragment]]:
    """The parameters one behind the other, cut into equal parts, as ZeRO 1 and 2 do."""
    part, owned = len(NAMES) * SIZE // world, []
    for rank in range(world):
        mine = {}
        for place, name in enumerate(NAMES):
            low, high = max(rank * part, place * SIZE), min((rank + 1) * part, (place + 1) * SIZE)
            if low < high:
                mine[name] = Fragment(low - place * SIZE, high - low, 0, low - rank * part)
        owned.append(mine)
    return owned


def _each_cut(world: int) -> list[dict[str, Fragment]]:
    """Every parameter by itself, as ZeRO 3 does."""
    part = SIZE // world
    return [{name: Fragment(rank * part, part, 0, i * part) for i, name in enumerate(NAMES)} for rank in range(world)]


CUTS = {"flat": _flat_cut, "each": _each_cut}


def _values(key: str) -> dict[str, torch.Tensor]:
    shift = {"master": 0.0, "exp_avg": 1000.0}[key]
    return {name: shift + 100.0 * place + torch.arange(float(SIZE)) for place, name in enumerate(NAMES)}


def _flat(owned: dict[str, Fragment], key: str) -> torch.Tensor:
    flat = torch.empty(sum(fragment.size for fragment in owned.values()))
    for name, f in owned.items():
        flat[f.offset : f.offset + f.size] = _values(key)[name][f.start : f.start + f.size]
    return flat


def _write(storage: Storage, step: int, cut: str, world: int) -> str:
    folder, files = f"checkpoints/step-{step:08d}", {"state.json": b"{}"}
    for rank, owned in enumerate(CUTS[cut](world)):
        table = {name: vars(fragment) for name, fragment in owned.items()}
        tensors = {f"0/{key}": _flat(owned, key) for key in ("master", "exp_avg")} | {"0/step": torch.tensor(7.0)}
        about = {"concord": json.dumps({"owned": table, "numbers": {"0#count": 3}})}
        files[shard_name(rank, world)] = save(tensors, metadata=about)
    for name, data in files.items():
        storage.write(f"{folder}/{name}", data)
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    storage.write(f"{folder}/manifest.json", json.dumps({"format": 2, "step": step, "files": sums}).encode())
    return folder


def _search(place: Path, world: int) -> list[tuple[Found, CountingStorage]]:
    together, storages = Together(world), [CountingStorage(str(place)) for _ in range(world)]
    with ThreadPoolExecutor(world) as threads:
        search = [threads.submit(search_checkpoint, storages[r], together.of(r), r, world) for r in range(world)]
        return [(own.result(), storage) for own, storage in zip(search, storages, strict=True)]


def test_each_rank_verifies_its_own_shard_and_has_it_then(tmp_path: Path) -> None:
    folder = _write(Storage(str(tmp_path)), 4, "flat", 3)
    for rank, (found, storage) in enumerate(_search(tmp_path, 3)):
        assert (found.folder, found.problems) == (folder, {})
        read = {name for name in storage.bytes_read if name.startswith("shard-")}
        assert read == {shard_name(rank, 3)}
        assert found.shard == (tmp_path / folder / shard_name(rank, 3)).read_bytes()


@pytest.mark.parametrize("world", [1, 2, 5])
def test_other_ranks_shards_are_verified_once_all_together(tmp_path: Path, world: int) -> None:
    folder = _write(Storage(str(tmp_path)), 4, "flat", 3)
    found = _search(tmp_path, world)
    assert all(own.folder == folder and own.shard is None for own, _ in found)
    for rank in range(3):
        readers = [storage for _, storage in found if shard_name(rank, 3) in storage.bytes_read]
        assert len(readers) == 1


@pytest.mark.parametrize("damaged", [0, 1, 2])
def test_what_one_rank_finds_damaged_none_takes(tmp_path: Path, damaged: int) -> None:
    storage = Storage(str(tmp_path))
    older, newer = (_write(storage, step, "flat", 3) for step in (4, 8))
    file = tmp_path / newer / shard_name(damaged, 3)
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    for rank, (found, _) in enumerate(_search(tmp_path, 3)):
        assert found.folder == older
        assert found.problems == {"step-00000008": f"{shard_name(damaged, 3)} differs from its checksum"}
        assert found.shard == (tmp_path / older / shard_name(rank, 3)).read_bytes()


def test_nothing_there_is_found_by_nobody(tmp_path: Path) -> None:
    assert [found for found, _ in _search(tmp_path, 2)] == 2 * [Found(None, {})]


@pytest.mark.parametrize(("before", "after"), [("flat", "flat"), ("each", "flat"), ("flat", "each"), ("each", "each")])
@pytest.mark.parametrize(("old", "new"), [(3, 2), (2, 3), (1, 3), (3, 1), (2, 5)])
def test_other_cut_reads_each_element_that_it_needs_once(
    tmp_path: Path, before: str, after: str, old: int, new: int
) -> None:
    storage = CountingStorage(str(tmp_path))
    folder = _write(storage, 4, before, old)
    headers = sum(8 + int.from_bytes(file.read_bytes()[:8], "little") for file in tmp_path.glob(f"{folder}/shard-*"))
    for rank, owned in enumerate(cut := CUTS[after](new)):
        size = sum(fragment.size for fragment in owned.values())
        master = torch.full((size,), torch.nan)
        optimizer = torch.optim.AdamW([master.requires_grad_()])
        partition = Partition(tuple(cut), (size,), (master,))
        state = FlatState(optimizer, partition)
        storage.bytes_read.clear()
        _restore_overlaps(storage, folder, SimpleNamespace(partition=partition, state=state), rank)  # type: ignore[arg-type]
        assert torch.equal(master.detach(), _flat(owned, "master"))
        assert torch.equal(optimizer.state[master]["exp_avg"], _flat(owned, "exp_avg"))
        assert optimizer.state[master]["step"] == 7
        # Weights and one moment, and of each shard the step count of one element.
        assert sum(storage.bytes_read.values()) == headers + 2 * 4 * size + old * 4


def test_shard_that_got_shorter_is_an_error(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    storage.write("file", b"0123456789")
    assert storage.read_ranges("file", [(2, 4), (0, 1)]) == [b"23", b"0"]
    with pytest.raises(OSError, match="is shorter than it was"):
        storage.read_ranges("file", [(8, 11)])


def test_whole_shard_and_the_overlap_with_all_of_it_are_the_same(tmp_path: Path) -> None:
    from cluster.storage.shard_overlap import read_overlap

    storage = Storage(str(tmp_path))
    path = f"{_write(storage, 4, 'flat', 2)}/{shard_name(0, 2)}"
    whole = decode_shard(storage.read(path))
    part = read_overlap(storage, path, whole.owned, lambda entry: False)
    assert part.owned == whole.owned
    assert torch.equal(part.masters[0], whole.masters[0])
    assert part.kept.keys() == whole.kept.keys()
    assert all(
        torch.equal(torch.as_tensor(part.kept[key]), torch.as_tensor(value)) for key, value in whole.kept.items()
    )
