"""A checkpoint is written: each rank its shard, rank 0 the rest, the manifest last."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch.distributed as dist
from safetensors.torch import save as save_tensors
from torch import Tensor

from cluster.storage.checkpoint import EXTRA, FOLDER, FORMAT, MANIFEST, STATE, checkpoint_name
from cluster.storage.fence import written_by
from cluster.storage.shard_file import encode_shard, shard_name
from cluster.storage.storage import Storage
from cluster.zero.engine import Engine


def save_checkpoint(
    storage: Storage,
    engine: Engine,
    step: int,
    state: Mapping[str, Any],
    tensors: Mapping[str, Tensor] | None = None,
) -> str:
    """Write the checkpoint after `step` steps and give its folder; all ranks take part.

    `state`: plain JSON values, and `tensors`, further ones that every rank has whole: both are read from rank 0.

    Raises:
        OSError, pyarrow.ArrowException: a file cannot be written.
    """
    rank, world = dist.get_rank(), dist.get_world_size()
    folder = f"{FOLDER}/{checkpoint_name(step)}"
    if rank == 0:
        # What an earlier attempt left here may come from another number of ranks.
        storage.delete_folder(folder)
    dist.barrier()
    checksum = _write(storage, f"{folder}/{shard_name(rank, world)}", encode_shard(engine, rank))
    shards: list[Any] = [None] * world
    dist.all_gather_object(shards, (shard_name(rank, world), checksum))
    if rank == 0:
        _write_rest(storage, folder, step, state, tensors or {}, dict(shards))
    dist.barrier()
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
    files[STATE] = _write(storage, f"{folder}/{STATE}", json.dumps(about | dict(state), indent=1).encode())
    if tensors:
        extra = save_tensors({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
        files[EXTRA] = _write(storage, f"{folder}/{EXTRA}", extra)
    manifest = about | written_by(storage) | {"files": files}
    storage.write(f"{folder}/{MANIFEST}", json.dumps(manifest, indent=1).encode())


def _write(storage: Storage, path: str, data: bytes) -> str:
    """Write the file and give its sha256."""
    storage.write(path, data)
    return hashlib.sha256(data).hexdigest()
