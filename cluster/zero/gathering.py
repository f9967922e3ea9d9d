"""What DeepSpeed gathers and holds for nothing, where gradients come from outside."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

# Whole groups up to this size are gathered together: those of heads and vectors, which cost a round of messages each and few bytes.
SMALL_GROUP_BYTES = 4 * 2**20


@contextmanager
def gathers_only(moved: Sequence[int]) -> Iterator[None]:
    """Inside, a step under ZeRO 1 and 2 gathers the weights of the parameter groups number `moved`; the others are the same on all ranks.

    Large groups are gathered as DeepSpeed does it, one by one, small ones all at once.
    """
    from deepspeed.runtime.zero import stage_1_and_2

    gather: Callable[..., None] = stage_1_and_2.all_gather_dp_groups

    def gather_moved(
        *, groups_flat: list[Any], partitioned_param_groups: list[Any], dp_process_group: list[Any], **sizes: int
    ) -> None:
        small = [i for i in moved if groups_flat[i].nbytes <= SMALL_GROUP_BYTES]
        large = [i for i in moved if i not in small]
        flat, parts, processes = (
            [of[i] for i in large] for of in (groups_flat, partitioned_param_groups, dp_process_group)
        )
        gather(groups_flat=flat, partitioned_param_groups=parts, dp_process_group=processes, **sizes)
        if small:
            _gather_together([groups_flat[i] for i in small], dp_process_group[small[0]])

    stage_1_and_2.all_gather_dp_groups = gather_moved
    try:
        yield
    finally:
        stage_1_and_2.all_gather_dp_groups = gather


def _gather_together(groups: Sequence[Tensor], processes: Any) -> None:
    """Give each of these flat groups the parts of all ranks, which own equal parts of each in their order."""
    rank, world = dist.get_rank(processes), dist.get_world_size(processes)
    if world == 1:
        return
    parts = [group.view(world, -1) for group in groups]
    own = torch.cat([part[rank] for part in parts])
    everyone = own.new_empty(world, len(own))
    dist.all_gather_into_tensor(everyone.view(-1), own, group=processes)
    for part, gathered in zip(parts, everyone.split([part.shape[1] for part in parts], dim=1), strict=True):
        part.copy_(gathered)


def free_unused_gradients(zero: Any) -> None:
    """Free ZeRO 3's own memory of this rank's shard of the gradient, which nothing is written to."""
    zero.grad_partitions_flat_buffer = zero.grad_partitions_flat_buffer.new_empty(0)
    zero._DeepSpeedZeroOptimizer_Stage3__param_id_to_grad_partition.clear()
