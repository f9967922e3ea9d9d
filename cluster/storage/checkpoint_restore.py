"""From a checkpoint back into an engine, also on another number of ranks and under another ZeRO stage."""

import torch.distributed as dist
from safetensors.torch import load as load_tensors
from torch import Tensor

from cluster.storage.checkpoint import EXTRA
from cluster.storage.checkpoint_search import Found
from cluster.storage.shard_file import SavedShard, decode_shard, is_shard
from cluster.storage.shard_overlap import read_overlap
from cluster.storage.storage import Storage
from cluster.zero.engine import Engine
from cluster.zero.optimizer_state import copy_overlap


def restore_engine(storage: Storage, found: Found, engine: Engine) -> None:
    """Put a checkpoint's weights and moments into `engine`; every rank reads what it owns.

    Where the shards are cut as the engine's are, a rank takes its own shard as it is; otherwise it picks its
    fragments from all of them.
    """
    assert found.folder is not None, "there is a checkpoint"
    rank = dist.get_rank()
    saved = decode_shard(found.shard) if found.shard is not None else None
    if saved is not None and _is_cut_alike(saved, engine, rank):
        for master, values in zip(engine.partition.masters, saved.masters, strict=True):
            master.data.copy_(values)
        engine.state.restore_same_cut(saved.kept)
    else:
        _restore_overlaps(storage, found.folder, engine, rank)
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
    for file in filter(is_shard, storage.files(folder)):
        shard = read_overlap(storage, f"{folder}/{file}", owned, engine.state.wants_whole)
        kept = shard.kept_for_overlap()
        for name in owned.keys() & shard.owned.keys():
            source, target = shard.owned[name], owned[name]
            copy_overlap(shard.masters[source.group], source, masters[target.group].data, target)
            engine.state.restore_overlap(kept, name, source, target)
        engine.state.restore_whole(shard.kept)
