"""What DeepSpeed gathers and holds for nothing, where gradients come from outside."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any


@contextmanager
def gathers_only(moved: Sequence[int]) -> Iterator[None]:
    """Inside, a step under ZeRO 1 and 2 gathers the weights of the parameter groups number `moved`; the others are the same on all ranks."""
    from deepspeed.runtime.zero import stage_1_and_2

    gather: Callable[..., None] = stage_1_and_2.all_gather_dp_groups

    def gather_moved(
        *, groups_flat: list[Any], partitioned_param_groups: list[Any], dp_process_group: list[Any], **sizes: int
    ) -> None:
        chosen = [[of[i] for i in moved] for of in (groups_flat, partitioned_param_groups, dp_process_group)]
        flat, parts, processes = chosen
        gather(groups_flat=flat, partitioned_param_groups=parts, dp_process_group=processes, **sizes)

    stage_1_and_2.all_gather_dp_groups = gather_moved
    try:
        yield
    finally:
        stage_1_and_2.all_gather_dp_groups = gather


def free_unused_gradients(zero: Any) -> None:
    """Free ZeRO 3's own memory of this rank's shard of the gradient, which nothing is written to."""
    zero.grad_partitions_flat_buffer = zero.grad_partitions_flat_buffer.new_empty(0)
    zero._DeepSpeedZeroOptimizer_Stage3__param_id_to_grad_partition.clear()
