"""From a checkpoint back into an engine, also on another number of ranks and under another ZeRO stage."""

import torch.distributed as dist
from safetensors.torch import load as load_tensors
from torch import Tensor

from cluster.storage.checkpoint import EXTRA
from cluster.storage.shard_file import SavedShard, read_shard, read_shards, shard_name
from cluster.storage.storage import Storage
from cluster.zero.engine import Engine
from cluster.zero.optimizer_state import copy_overlap


def restore_engine(storage: Storage, folder: str, engine: Engine) -> None:
    """Put a checkpoint's weights and moments into `engine`; every rank reads what it owns.

    Where the shards are cut as the engine's are, a rank takes its own shard as it is; otherwise it picks its
    fragments from all of them.
    """
    rank, world = dist.get_rank(), dist.get_world_size()
    file = shard_name(rank, world)
    saved = read_shard(storage, folder, file) if file in storage.files(folder) else None
    if saved is not None and _is_cut_alike(saved, engine, rank):
        for master, values in zip(engine.partition.masters, saved.masters, strict=True):
            master.data.copy_(values)
        engine.state.restore_same_cut(saved.kept)
    else:
        _restore_overlaps(storage, folder, engine, rank)
    engine.state.finish_restore()
    engine.refresh_weights()


def read_tensors(storage: Storage, folder: str) -> dict[str, Tensor]:
    """The further tensors of a checkpoint; empty where it has none."""
    return load_tensors(storage.read(f"{folder}/{EXTRA}")) if EXTRA in storage.files(folder) else {}


def _is_cut_alike(saved: SavedShard, engine: Engine, rank: int) -> bool:
    partition = engine.partition
    sizes = tuple(len(master) for master in saved.masters)
    return saved.owned == partition.owned[rank] and sizes == partition.group_sizes


def _restore_overlaps(storage: Storage, folder: str, engine: Engine, rank: int) -> None:
    owned, masters = engine.partition.owned[rank], engine.partition.masters
    for shard in read_shards(storage, folder):
        kept = shard.kept_for_overlap()
        for name in owned.keys() & shard.owned.keys():
            source, target = shard.owned[name], owned[name]
            copy_overlap(shard.masters[source.group], source, masters[target.group].data, target)
            engine.state.restore_overlap(kept, name, source, target)
        engine.state.restore_whole(shard.kept)
