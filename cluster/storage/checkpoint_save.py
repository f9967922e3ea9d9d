"""A checkpoint is copied to memory and written: each rank its shard, rank 0 the rest, the manifest last."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from cluster.storage.checkpoint import EXTRA, FOLDER, FORMAT, MANIFEST, STATE, checkpoint_name
from cluster.storage.fence import written_by
from cluster.storage.shard_file import copy_shard, shard_name
from cluster.storage.signed import write_signed
from cluster.storage.storage import Data, Storage
from cluster.storage.tensor_file import TensorFile
from cluster.zero.engine import Engine
from multitask.plain_json import encode_json

T = TypeVar("T")


class Ranks(Protocol):
    """How ranks act together (`cluster.training.agreement`): what one of them meets, all raise."""

    def on_every_rank(self, action: Callable[[], T]) -> T:
        """What `action` gives on this rank, once it has succeeded on all."""

    def from_rank_zero(self, action: Callable[[], T]) -> T:
        """What `action` gives on rank 0."""

    def gather(self, value: T) -> list[T]:
        """The values of all ranks."""


@dataclass(frozen=True)
class Snapshot:
    """What one rank writes of the checkpoint after `step` steps, in memory: training may go on while it is written.

    `files`: name to content of what rank 0 adds to the shards.
    """

    step: int
    shard_name: str
    shard: Data
    files: Mapping[str, Data]


class SnapshotMemory:
    """Where one snapshot at a time lies: the shard, and what else has tensors. `device`: from where they are copied."""

    def __init__(self, device: torch.device) -> None:
        pinned = device.type == "cuda"
        self.shard, self.extra = TensorFile(pinned=pinned), TensorFile(pinned=pinned)


def take_snapshot(
    engine: Engine,
    step: int,
    state: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    memory: SnapshotMemory,
    beside: Mapping[str, Data] = MappingProxyType({}),
) -> Snapshot:
    """A copy of the training in `memory`, where it takes the place of the one before.

    `state`: plain JSON values; `tensors`, further ones that every rank has whole; `beside`: further files, name to content.
    All of them are taken from rank 0.
    """
    rank, world = dist.get_rank(), dist.get_world_size()
    files: dict[str, Data] = {}
    if rank == 0:
        files[STATE] = encode_json({"format": FORMAT, "step": step} | dict(state))
        if tensors:
            files[EXTRA] = memory.extra.fill(tensors)
        files.update(beside)
    return Snapshot(step, shard_name(rank, world), copy_shard(engine, rank, memory.shard), files)


def write_checkpoint(storage: Storage, snapshot: Snapshot, ranks: Ranks) -> str:
    """Write the checkpoint of all ranks' snapshots and give its folder; all ranks take part.

    Raises:
        OSError, pyarrow.ArrowException: a file cannot be written; on another rank than that, as `ranks` says it.
    """
    folder = f"{FOLDER}/{checkpoint_name(snapshot.step)}"
    # What an earlier attempt left here may come from another number of ranks.
    ranks.from_rank_zero(lambda: storage.delete_folder(folder))
    checksum = ranks.on_every_rank(lambda: _write(storage, f"{folder}/{snapshot.shard_name}", snapshot.shard))
    shards = dict(ranks.gather((snapshot.shard_name, checksum)))
    ranks.from_rank_zero(lambda: _write_rest(storage, folder, snapshot, shards))
    return folder


def _write_rest(storage: Storage, folder: str, snapshot: Snapshot, files: dict[str, str]) -> None:
    """What rank 0 adds, and last the manifest, which makes it a checkpoint. `files`: name to checksum of the shards."""
    for name, data in snapshot.files.items():
        files[name] = _write(storage, f"{folder}/{name}", data)
    about = {"format": FORMAT, "step": snapshot.step}
    write_signed(storage, f"{folder}/{MANIFEST}", encode_json(about | written_by(storage) | {"files": files}))


def _write(storage: Storage, path: str, data: Data) -> str:
    """Write the file and give its sha256."""
    storage.write(path, data)
    return hashlib.sha256(data).hexdigest()
