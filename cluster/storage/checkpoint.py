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
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from cluster.storage.storage import Storage
from cluster.zero.engine import Engine
from cluster.zero.optimizer_state import copy_overlap
from cluster.zero.partition import Fragment

FOLDER = "checkpoints"
FORMAT = 2
_MASTER = "master"
_EXTRA = "extra.safetensors"


def checkpoint_name(step: int) -> str:
    """The folder name of the checkpoint after `step` steps."""
    return f"step-{step:08d}"


def save_checkpoint(
    storage: Storage,
    engine: Engine,
    step: int,
    state: Mapping[str, Any],
    tensors: Mapping[str, Tensor] | None = None,
) -> str:
    """Write the checkpoint after `step` steps; all ranks take part.

    `state`: plain JSON values, and `tensors`, further ones that every rank has whole: both are read from rank 0.
    """
    rank, world = dist.get_rank(), dist.get_world_size()
    folder = f"{FOLDER}/{checkpoint_name(step)}"
    if rank == 0:
        # What an earlier attempt left here may come from another number of ranks.
        storage.delete_folder(folder)
    dist.barrier()
    shard = _shard_name(rank, world)
    owned = {name: asdict(fragment) for name, fragment in engine.partition.owned[rank].items()}
    shard_tensors, numbers = _shard_values(engine)
    # One entry: safetensors writes several in random order, and equal checkpoints are to have equal checksums.
    data = save_tensors(shard_tensors, metadata={"concord": json.dumps({"owned": owned, "numbers": numbers})})
    storage.write(f"{folder}/{shard}", data)
    sums: list[Any] = [None] * world
    dist.all_gather_object(sums, (shard, hashlib.sha256(data).hexdigest()))
    if rank == 0:
        text = json.dumps({"format": FORMAT, "step": step, **state}, indent=1).encode()
        storage.write(f"{folder}/state.json", text)
        files = dict(sums) | {"state.json": hashlib.sha256(text).hexdigest()}
        if tensors:
            extra = save_tensors({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
            storage.write(f"{folder}/{_EXTRA}", extra)
            files[_EXTRA] = hashlib.sha256(extra).hexdigest()
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
    owned, masters = engine.partition.owned[rank], engine.partition.masters
    mine = _shard_name(rank, world)
    own = _read_shard(storage, folder, mine) if mine in storage.files(folder) else None
    if own is not None and own.owned == owned and [len(m) for m in own.masters] == list(engine.partition.group_sizes):
        for master, saved in zip(masters, own.masters, strict=True):
            master.data.copy_(saved)
        engine.state.take_all(own.remembered)
    else:
        for shard in _shards(storage, folder):
            remembered = _cuttable(shard)
            for name in owned.keys() & shard.owned.keys():
                source, target = shard.owned[name], owned[name]
                copy_overlap(shard.masters[source.group], source, masters[target.group].data, target)
                engine.state.take_part(remembered, name, source, target)
            engine.state.take_whole(shard.remembered)
    engine.state.loaded()
    _refresh_weights(engine)


def load_weights(storage: Storage, folder: str) -> dict[str, Tensor]:
    """The trained parameters of a checkpoint, whole and in fp32, flattened: name to (elements,)."""
    pieces: dict[str, list[tuple[int, Tensor]]] = {}
    for shard in _shards(storage, folder):
        for name, fragment in shard.owned.items():
            flat = shard.masters[fragment.group]
            pieces.setdefault(name, []).append(
                (fragment.start, flat[fragment.offset : fragment.offset + fragment.size])
            )
    return {name: torch.cat([part for _, part in sorted(parts, key=lambda p: p[0])]) for name, parts in pieces.items()}


def read_tensors(storage: Storage, folder: str) -> dict[str, Tensor]:
    """The further tensors of a checkpoint; empty where it has none."""
    return load_tensors(storage.read(f"{folder}/{_EXTRA}")) if _EXTRA in storage.files(folder) else {}


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


@dataclass(frozen=True)
class _Shard:
    """What a rank saved: its fragments, its flat fp32 weights by group, and what its optimizer remembers."""

    owned: dict[str, Fragment]
    masters: list[Tensor]
    remembered: dict[str, Any]


def _shard_values(engine: Engine) -> tuple[dict[str, Tensor], dict[str, float]]:
    """This rank's tensors, `group/master` for the fp32 weights beside what its optimizer remembers, and its numbers."""
    tensors = {f"{group}/{_MASTER}": master.detach() for group, master in enumerate(engine.partition.masters)}
    numbers = {}
    for name, value in engine.state.entries():
        if isinstance(value, Tensor):
            tensors[name] = value.detach()
        else:
            numbers[name] = value
    return {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, numbers


def _shard_name(rank: int, world: int) -> str:
    return f"shard-{rank:05d}-of-{world:05d}.safetensors"


def _shards(storage: Storage, folder: str) -> Iterator[_Shard]:
    for file in storage.files(folder):
        if file.startswith("shard-") and file.endswith(".safetensors"):
            yield _read_shard(storage, folder, file)


def _read_shard(storage: Storage, folder: str, file: str) -> _Shard:
    data = storage.read(f"{folder}/{file}")
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    about = json.loads(header["__metadata__"]["concord"])
    tensors = load_tensors(data)
    masters = [tensors.pop(f"{group}/{_MASTER}") for group in range(sum(n.endswith(f"/{_MASTER}") for n in tensors))]
    owned = {name: Fragment(**fragment) for name, fragment in about["owned"].items()}
    return _Shard(owned, masters, tensors | about["numbers"])


def _cuttable(shard: _Shard) -> dict[str, Any]:
    """What a shard remembers; values of one element that stand for all of it, as some optimizers have, as scalars."""
    tensors = {n: v for n, v in shard.remembered.items() if isinstance(v, Tensor) and not n.startswith("whole/")}

    def group_and_key(name: str) -> tuple[int, str]:
        group, _, key = name.partition("@")[0].partition("/")
        return int(group), key

    places = {name: group_and_key(name) for name in tensors}
    alone = {key for name, (group, key) in places.items() if tensors[name].numel() == 1 != len(shard.masters[group])}
    scalars = {name: tensors[name].reshape(()) for name, (_, key) in places.items() if key in alone}
    return shard.remembered | scalars


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
