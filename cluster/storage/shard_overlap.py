"""Of a shard that was cut for other ranks, what this rank needs is read, and no more."""

import json
import math
from bisect import bisect_right
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from cluster.storage.shard_file import SavedShard, group_and_key, is_master, saved_shard
from cluster.storage.storage import Storage
from cluster.storage.tensor_file import TYPE_NAMES
from cluster.zero.partition import Fragment

_TYPES = {name: dtype for dtype, name in TYPE_NAMES.items()}
# What a store sends along sooner than it answers once more.
_STORE_GAP = 2**20
_Range = tuple[int, int]


def read_overlap(
    storage: Storage, path: str, owned: Mapping[str, Fragment], wants_whole: Callable[[str], bool]
) -> SavedShard:
    """The shard in the file `path`, whose flat tensors hold only the elements of parameters that overlap with `owned`.

    What lies between these in memory was never read, and has no value. `wants_whole`: says which entries of whole tensors are
    wanted; the others are left out.

    Raises:
        OSError, pyarrow.ArrowException: it cannot be read.
    """
    header, start = _read_header(storage, path)
    metadata = header.pop("__metadata__")
    held = {name: Fragment(**values) for name, values in json.loads(metadata["concord"])["owned"].items()}
    wanted = _wanted(held, owned)
    sizes = {group_and_key(name)[0]: math.prod(header[name]["shape"]) for name in header if is_master(name)}
    tensors, places = {}, []
    for name, about in header.items():
        is_whole = name.startswith("whole/")
        if is_whole and not wants_whole(name):
            continue
        tensor = tensors[name] = torch.empty(about["shape"], dtype=_TYPES[about["dtype"]])
        group = None if is_whole else group_and_key(name)[0]
        is_flat = group is not None and tensor.numel() == sizes[group]
        elements = wanted.get(group, []) if is_flat and group is not None else [(0, tensor.numel())]
        places += [(start + about["data_offsets"][0], tensor, part) for part in elements if part[0] < part[1]]
    _read_into(storage, path, places)
    return saved_shard(metadata, tensors)


def _read_header(storage: Storage, path: str) -> tuple[dict[str, Any], int]:
    """The header of a safetensors file, and where its data begins."""
    size = int.from_bytes(storage.read_ranges(path, [(0, 8)])[0], "little")
    header: dict[str, Any] = json.loads(storage.read_ranges(path, [(8, 8 + size)])[0])
    return header, 8 + size


def _wanted(held: Mapping[str, Fragment], owned: Mapping[str, Fragment]) -> dict[int, list[_Range]]:
    """Group to the elements of its flat tensors that are needed, in order and joined where they touch."""
    found: dict[int, list[_Range]] = {}
    for name in held.keys() & owned.keys():
        source, target = held[name], owned[name]
        low, high = max(source.start, target.start), min(source.start + source.size, target.start + target.size)
        if low < high:
            shift = source.offset - source.start
            found.setdefault(source.group, []).append((low + shift, high + shift))
    return {group: _joined(ranges, 0) for group, ranges in found.items()}


def _joined(ranges: list[_Range], gap: int) -> list[_Range]:
    joined: list[_Range] = []
    for start, stop in sorted(ranges):
        if joined and start - joined[-1][1] <= gap:
            joined[-1] = joined[-1][0], max(stop, joined[-1][1])
        else:
            joined.append((start, stop))
    return joined


def _read_into(storage: Storage, path: str, places: list[tuple[int, Tensor, _Range]]) -> None:
    """`places`: where in the file a tensor's data begins, the tensor, and which of its elements to read."""
    bounds = [(start + low * t.itemsize, start + high * t.itemsize) for start, t, (low, high) in places]
    ranges = _joined(bounds, 0 if storage.is_local else _STORE_GAP)
    parts, begins = storage.read_ranges(path, ranges), [begin for begin, _ in ranges]
    for (start, stop), (_, tensor, (low, high)) in zip(bounds, places, strict=True):
        own = bisect_right(begins, start) - 1
        data = parts[own][start - begins[own] : stop - begins[own]]
        values = torch.frombuffer(bytearray(data), dtype=tensor.dtype)
        tensor.view(-1)[low:high].copy_(values)
