"""A checkpoint is written: each rank its shard, rank 0 the rest, the manifest last."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

import torch.distributed as dist
from safetensors.torch import save as save_tensors
from torch import Tensor

from cluster.storage.checkpoint import EXTRA, FOLDER, FORMAT, MANIFEST, STATE, checkpoint_name
from cluster.storage.fence import written_by
from cluster.storage.shard_file import encode_shard, shard_name
from cluster.storage.signed import write_signed
from cluster.storage.storage import Storage
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


def save_checkpoint(
    storage: Storage,
    engine: Engine,
    step: int,
    state: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    ranks: Ranks,
) -> str:
    """Write the checkpoint after `step` steps and give its folder; all ranks take part.

    `state`: plain JSON values, and `tensors`, further ones that every rank has whole: both are read from rank 0.

    Raises:
        OSError, pyarrow.ArrowException: a file cannot be written; on another rank than that, as `ranks` says it.
    """
    rank, world = dist.get_rank(), dist.get_world_size()
    folder = f"{FOLDER}/{checkpoint_name(step)}"
    # What an earlier attempt left here may come from another number of ranks.
    ranks.from_rank_zero(lambda: storage.delete_folder(folder))
    shard = shard_name(rank, world)
    checksum = ranks.on_every_rank(lambda: _write(storage, f"{folder}/{shard}", encode_shard(engine, rank)))
    shards = dict(ranks.gather((shard, checksum)))
    ranks.from_rank_zero(lambda: _write_rest(storage, folder, step, state, tensors, shards))
    return folder


def _write_rest(
    storage: Storage,
    folder: str,
    step: int,
    state: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    files: dict[str, str],
) -> None:
    """State, further tensors, and last the manifest, which makes it a checkpoint. `files`: name to checksum of the shards."""
    about = {"format": FORMAT, "step": step}
    files[STATE] = _write(storage, f"{folder}/{STATE}", encode_json(about | dict(state)))
    if tensors:
        extra = save_tensors({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
        files[EXTRA] = _write(storage, f"{folder}/{EXTRA}", extra)
    write_signed(storage, f"{folder}/{MANIFEST}", encode_json(about | written_by(storage) | {"files": files}))


def _write(storage: Storage, path: str, data: bytes) -> str:
    """Write the file and give its sha256."""
    storage.write(path, data)
    return hashlib.sha256(data).hexdigest()
