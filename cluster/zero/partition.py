"""Which rank owns which part of which parameter.

DeepSpeed keeps, per parameter group, one flat fp32 shard on each rank. ZeRO 1 and 2 cut the flat concatenation of a
group's parameters into equal parts; ZeRO 3 cuts every parameter by itself. Both come down to the same table.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Fragment:
    """Elements `start … start + size` of a flattened parameter, at `offset` of its owner's shard of group `group`."""

    start: int
    size: int
    group: int
    offset: int


@dataclass(frozen=True)
class Partition:
    """`owned[rank][name]`: the fragment of parameter `name` on `rank` (a rank may own none of it).

    `group_sizes`: elements of this rank's shard of each group, padding included. `masters`: these shards' fp32
    weights, views on DeepSpeed's own tensors.
    """

    owned: tuple[Mapping[str, Fragment], ...]
    group_sizes: tuple[int, ...]
    masters: tuple[Tensor, ...]


def zero12_partition(zero: Any, names: Mapping[int, str]) -> Partition:
    """Read the partition off a ZeRO 1 or 2 optimizer; `names`: id of a parameter to its name."""
    mine = {}
    for group in zero.bit16_groups:
        for parameter in group:
            mapping = parameter._hp_mapping
            if mapping is not None:
                low, high = mapping.lp_fragment_address, mapping.hp_fragment_address
                fragment = Fragment(low.start, low.numel, mapping.param_group_index, high.start)
                mine[names[id(parameter)]] = fragment
    masters = tuple(zero.single_partition_of_fp32_groups)
    _clear_padding(masters, mine)
    return Partition(_gather(mine), tuple(m.numel() for m in masters), masters)


def zero3_partition(zero: Any, names: Mapping[int, str]) -> Partition:
    """Read the partition off a ZeRO 3 optimizer; `names`: id of a parameter to its name.

    A sub-group of ZeRO 3 stands for a group here; each belongs to one of the optimizer's groups.
    """
    rank = dist.get_rank()
    mine = {}
    for index, group in enumerate(zero.fp16_groups):
        offset = 0
        for parameter in group:
            size = parameter.partition_numel()
            start = rank * size
            real = max(0, min(size, parameter.ds_numel - start))
            if real:
                mine[names[id(parameter)]] = Fragment(start, real, index, offset)
            offset += size
    masters = tuple(zero.fp32_partitioned_groups_flat)
    _clear_padding(masters, mine)
    return Partition(_gather(mine), tuple(m.numel() for m in masters), masters)


def _clear_padding(masters: tuple[Tensor, ...], mine: Mapping[str, Fragment]) -> None:
    """Set what belongs to no parameter to 0, where ZeRO 3 leaves whatever the memory held.

    Optimizers that add weight decay to the gradient would spread it, and DeepSpeed drop steps that look like an overflow.
    """
    for group, master in enumerate(masters):
        padding = torch.ones(master.numel(), dtype=torch.bool, device=master.device)
        for fragment in mine.values():
            if fragment.group == group:
                padding[fragment.offset : fragment.offset + fragment.size] = False
        master.data.masked_fill_(padding, 0)


def _gather(mine: dict[str, Fragment]) -> tuple[dict[str, Fragment], ...]:
    everyone: list[dict[str, Fragment]] = [{}] * dist.get_world_size()
    dist.all_gather_object(everyone, mine)
    return tuple(everyone)
