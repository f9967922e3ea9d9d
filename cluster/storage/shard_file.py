"""The file that one rank writes of a checkpoint: its fp32 weights, its optimizer's moments, and where both belong."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from torch import Tensor

from cluster.storage.storage import Storage
from cluster.storage.tensor_file import TensorFile
from cluster.zero.engine import Engine
from cluster.zero.partition import Fragment

_MASTER = "master"


@dataclass(frozen=True)
class SavedShard:
    """What a rank saved.

    `owned`: parameter to the fragment that the rank held of it; `masters`: its flat fp32 weights by group; `kept`: name to
    value of what its optimizer kept, as in `cluster.zero.optimizer_state`.
    """

    owned: dict[str, Fragment]
    masters: list[Tensor]
    kept: dict[str, Any]

    def kept_for_overlap(self) -> dict[str, Any]:
        """`kept`, with values of one element that stand for a whole shard, as some optimizers have, as scalars."""
        tensors = {n: v for n, v in self.kept.items() if isinstance(v, Tensor) and not n.startswith("whole/")}
        places = {name: group_and_key(name) for name in tensors}
        alone = {key for name, (group, key) in places.items() if self._stands_for_all(tensors[name], group)}
        scalars = {name: tensors[name].reshape(()) for name, (_, key) in places.items() if key in alone}
        return self.kept | scalars

    def _stands_for_all(self, value: Tensor, group: int) -> bool:
        return value.numel() == 1 and len(self.masters[group]) != 1


def shard_name(rank: int, world: int) -> str:
    """The name of the file that `rank` of `world` ranks writes."""
    return f"shard-{rank:05d}-of-{world:05d}.safetensors"


def copy_shard(engine: Engine, rank: int, memory: TensorFile) -> memoryview:
    """This rank's shard of weights and moments as a safetensors file in `memory`; equal shards give equal bytes."""
    tensors = {f"{group}/{_MASTER}": master.detach() for group, master in enumerate(engine.partition.masters)}
    numbers = {}
    for name, value in engine.state.entries():
        if isinstance(value, Tensor):
            tensors[name] = value.detach()
        else:
            numbers[name] = value
    owned = {name: asdict(fragment) for name, fragment in engine.partition.owned[rank].items()}
    # One entry: safetensors writes several in random order.
    metadata = {"concord": json.dumps({"owned": owned, "numbers": numbers})}
    return memory.fill(tensors, metadata)


def is_shard(file: str) -> bool:
    """Whether a file of a checkpoint is a shard."""
    return file.startswith("shard-") and file.endswith(".safetensors")


def decode_shard(data: bytes) -> SavedShard:
    """The shard that `copy_shard` made a file of."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return saved_shard(header["__metadata__"], load_tensors(data))


def saved_shard(metadata: Mapping[str, str], tensors: dict[str, Tensor]) -> SavedShard:
    """The shard of a file's `metadata` and `tensors`."""
    about = json.loads(metadata["concord"])
    groups = sum(is_master(name) for name in tensors)
    masters = [tensors.pop(f"{group}/{_MASTER}") for group in range(groups)]
    owned = {name: Fragment(**fragment) for name, fragment in about["owned"].items()}
    return SavedShard(owned, masters, tensors | about["numbers"])


def is_master(name: str) -> bool:
    """Whether a tensor of a shard is the flat weights of a group."""
    return name.endswith(f"/{_MASTER}") and not name.startswith("whole/")


def read_shards(storage: Storage, folder: str) -> Iterator[SavedShard]:
    """The shards of all ranks that wrote the checkpoint in `folder`, one at a time."""
    for file in storage.files(folder):
        if is_shard(file):
            yield decode_shard(storage.read(f"{folder}/{file}"))


def load_weights(storage: Storage, folder: str) -> dict[str, Tensor]:
    """The trained parameters of a checkpoint, whole and in fp32, flattened: name to (elements,)."""
    pieces: dict[str, list[tuple[int, Tensor]]] = {}
    for shard in read_shards(storage, folder):
        for name, fragment in shard.owned.items():
            part = shard.masters[fragment.group][fragment.offset : fragment.offset + fragment.size]
            pieces.setdefault(name, []).append((fragment.start, part))
    return {name: torch.cat([part for _, part in sorted(parts, key=lambda p: p[0])]) for name, parts in pieces.items()}


def group_and_key(name: str) -> tuple[int, str]:
    """The group beside whose flat weights a tensor lies, and what it is called there."""
    group, _, key = name.partition("@")[0].partition("/")
    return int(group), key
