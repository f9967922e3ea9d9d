"""Checkpoints: everything that the next step depends on, with checksums.

A checkpoint is a folder `checkpoints/step-00000120`. Each rank writes its shard of weights and optimizer state as
safetensors; rank 0 adds `state.json` and, after every rank is through, `manifest.json` with the checksum of each
file. A folder without a manifest, or with a file that differs from it, does not count, and the one before is used.
Shards name the fragment of each parameter that they hold, so that they can be read on any number of ranks and
under another ZeRO stage.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from cluster.engine import Engine
from cluster.partition import Fragment
from cluster.storage import Storage

FOLDER = "checkpoints"
FORMAT = 1
_MASTER = "master"


def checkpoint_name(step: int) -> str:
    """The folder name of the checkpoint after `step` steps."""
    return f"step-{step:08d}"


def save_checkpoint(storage: Storage, engine: Engine, step: int, state: Mapping[str, Any]) -> str:
    """Write the checkpoint after `step` steps; all ranks take part. `state`: plain JSON values, read from rank 0."""
    rank, world = dist.get_rank(), dist.get_world_size()
    folder = f"{FOLDER}/{checkpoint_name(step)}"
    if rank == 0:
        # What an earlier attempt left here may come from another number of ranks.
        storage.delete_folder(folder)
    dist.barrier()
    shard = _shard_name(rank, world)
    owned = {name: asdict(fragment) for name, fragment in engine.partition.owned[rank].items()}
    data = save_tensors(_shard_tensors(engine), metadata={"owned": json.dumps(owned)})
    storage.write(f"{folder}/{shard}", data)
    sums: list[Any] = [None] * world
    dist.all_gather_object(sums, (shard, hashlib.sha256(data).hexdigest()))
    if rank == 0:
        text = json.dumps({"format": FORMAT, "step": step, **state}, indent=1).encode()
        storage.write(f"{folder}/state.json", text)
        files = dict(sums) | {"state.json": hashlib.sha256(text).hexdigest()}
        manifest = {"format": FORMAT, "step": step, "files": files}
        storage.write(f"{folder}/manifest.json", json.dumps(manifest, indent=1).encode())
    dist.barrier()
    return folder


def load_engine(storage: Storage, folder: str, engine: Engine) -> None:
    """Put a checkpoint's weights and optimizer state into `engine`; every rank reads what it owns.

    Where the shards are cut as the engine's are, a rank takes its own shard as it is; otherwise it picks its
    fragments from all of them.
    """
    rank, world = dist.get_rank(), dist.get_world_size()
    owned = engine.partition.owned[rank]
    mine = _shard_name(rank, world)
    tensors, fragments = _read_shard(storage, folder, mine) if mine in storage.files(folder) else ({}, {})
    if fragments == owned and all(
        len(tensors[f"{group}/{_MASTER}"]) == size for group, size in enumerate(engine.partition.group_sizes)
    ):
        _copy_shard(engine, tensors)
    else:
        for tensors, fragments in _shards(storage, folder):
            for name, target in owned.items():
                if name in fragments:
                    _copy_overlap(engine, tensors, fragments[name], target)
    _refresh_weights(engine)


def load_weights(storage: Storage, folder: str) -> dict[str, Tensor]:
    """The trained parameters of a checkpoint, whole and in fp32, flattened: name to (elements,)."""
    pieces: dict[str, list[tuple[int, Tensor]]] = {}
    for tensors, fragments in _shards(storage, folder):
        for name, fragment in fragments.items():
            flat = tensors[f"{fragment.group}/{_MASTER}"]
            pieces.setdefault(name, []).append(
                (fragment.start, flat[fragment.offset : fragment.offset + fragment.size])
            )
    return {name: torch.cat([part for _, part in sorted(parts, key=lambda p: p[0])]) for name, parts in pieces.items()}


def read_state(storage: Storage, folder: str) -> dict[str, Any]:
    """The JSON state of a checkpoint."""
    state: dict[str, Any] = json.loads(storage.read(f"{folder}/state.json"))
    return state


def find_checkpoint(storage: Storage) -> tuple[str | None, list[str]]:
    """The newest checkpoint that is whole, and what was wrong with each newer one."""
    problems: list[str] = []
    for name in reversed(storage.folders(FOLDER)):
        folder = f"{FOLDER}/{name}"
        problem = verify(storage, folder)
        if problem is None:
            return folder, problems
        problems.append(f"{name}: {problem}")
    return None, problems


def verify(storage: Storage, folder: str) -> str | None:
    """What is wrong with a checkpoint; None where every file is as its manifest says."""
    try:
        manifest = json.loads(storage.read(f"{folder}/manifest.json"))
        if manifest["format"] != FORMAT:
            return f"format {manifest['format']}, this version reads {FORMAT}"
        files = dict(manifest["files"])
    except FileNotFoundError:
        return "no manifest: it was not finished"
    except (ValueError, KeyError, TypeError):
        return "its manifest cannot be read"
    for file, checksum in files.items():
        try:
            data = storage.read(f"{folder}/{file}")
        except OSError:
            return f"{file} is missing"
        if hashlib.sha256(data).hexdigest() != checksum:
            return f"{file} differs from its checksum"
    return None


def prune(storage: Storage, best: int | None, keep_last: int = 2) -> None:
    """Remove all checkpoints but the `keep_last` newest and that of step `best`."""
    names = storage.folders(FOLDER)
    kept = set(names[-keep_last:]) | ({checkpoint_name(best)} if best is not None else set())
    for name in names:
        if name not in kept:
            storage.delete_folder(f"{FOLDER}/{name}")


def _shard_tensors(engine: Engine) -> dict[str, Tensor]:
    """This rank's tensors, `group/name`: fp32 weights and what the optimizer keeps beside them."""
    tensors = {}
    for group, master in enumerate(engine.partition.masters):
        tensors[f"{group}/{_MASTER}"] = master.detach()
        for key, value in engine.optimizer.state.get(master, {}).items():
            tensors[f"{group}/{key}"] = torch.as_tensor(value).detach()
    return {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}


def _shard_name(rank: int, world: int) -> str:
    return f"shard-{rank:05d}-of-{world:05d}.safetensors"


def _shards(storage: Storage, folder: str) -> Iterator[tuple[dict[str, Tensor], dict[str, Fragment]]]:
    """Tensors and fragments of each shard of a checkpoint."""
    for file in storage.files(folder):
        if file.startswith("shard-") and file.endswith(".safetensors"):
            yield _read_shard(storage, folder, file)


def _read_shard(storage: Storage, folder: str, file: str) -> tuple[dict[str, Tensor], dict[str, Fragment]]:
    data = storage.read(f"{folder}/{file}")
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    owned = json.loads(header["__metadata__"]["owned"])
    return load_tensors(data), {name: Fragment(**fragment) for name, fragment in owned.items()}


def _copy_shard(engine: Engine, tensors: Mapping[str, Tensor]) -> None:
    """Take over a whole shard, padding included."""
    for name, tensor in tensors.items():
        group, key = name.split("/", 1)
        master = engine.partition.masters[int(group)]
        if key == _MASTER:
            master.data.copy_(tensor)
        else:
            engine.optimizer.state[master][key] = tensor.clone() if key == "step" else tensor.to(master.device)


def _copy_overlap(engine: Engine, tensors: Mapping[str, Tensor], source: Fragment, target: Fragment) -> None:
    """Copy the elements that both fragments of a parameter hold, of the weights and of each optimizer state."""
    low, high = max(source.start, target.start), min(source.start + source.size, target.start + target.size)
    if low >= high:
        return
    master = engine.partition.masters[target.group]
    state = engine.optimizer.state[master]
    for name, tensor in tensors.items():
        group, key = name.split("/", 1)
        if int(group) != source.group:
            continue
        if tensor.dim() == 0:
            state[key] = tensor.clone() if key == "step" else tensor.to(master.device)
            continue
        if key != _MASTER and key not in state:
            state[key] = torch.zeros_like(master, dtype=tensor.dtype)
        flat = master.data if key == _MASTER else state[key]
        begin = target.offset + low - target.start
        part = tensor[source.offset + low - source.start : source.offset + high - source.start]
        flat[begin : begin + high - low].copy_(part)


def _refresh_weights(engine: Engine) -> None:
    """Give the model the weights that its shards hold."""
    zero = engine.deepspeed.optimizer
    if engine.deepspeed.zero_optimization_stage() < 3:
        zero.update_lp_params()
        return
    for group in range(len(engine.partition.masters)):
        zero._reassign_or_swap_out_partitioned_parameters(group)
    if zero.persistent_parameters:
        zero.persistent_parameters[0].partition(zero.persistent_parameters)
        zero.persistent_parameters[0].all_gather(zero.persistent_parameters)
