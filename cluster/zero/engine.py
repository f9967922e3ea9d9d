"""The DeepSpeed engine around a model: started, stepped with a combined gradient, and its shards named."""

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cluster.zero.gathering import free_unused_gradients, gathers_only
from cluster.zero.optimizer_state import FlatState, OptimizerState, WholeTensorState
from cluster.zero.partition import Partition, zero3_partition, zero12_partition
from cluster.zero.whole_tensors import WholeTensorOptimizer
from multitask.config import RunConfig
from multitask.model import MultitaskModel
from multitask.optimization import build_optimizer, parameter_groups, runs_on_flat_shards, set_rates


@dataclass
class Engine:
    """A DeepSpeed engine whose gradients come from outside.

    `shards`: one fp32 tensor per parameter group, the part of the group's flat gradient that this rank owns. The
    caller writes the combined gradient there and calls `step`: DeepSpeed's optimizer takes it as if one backward and
    one reduction had put it there, updates its shard of the weights and gathers the new ones.
    """

    deepspeed: Any
    partition: Partition
    shards: list[Tensor]
    state: OptimizerState

    @property
    def model(self) -> MultitaskModel:
        """The model inside the engine."""
        return self.deepspeed.module

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The base optimizer, whose parameters are this rank's fp32 shards."""
        return self.deepspeed.optimizer.optimizer

    def step(self, lr: float, tasks: Sequence[str], lowest_layer: int = 0, moments_of: str | None = None) -> None:
        """One update with the gradient in `shards`.

        Heads of other tasks than `tasks`, and shared layers below `lowest_layer`, stay as they are. `moments_of`: the task
        whose own moments are used, None where all tasks share them.
        """
        set_rates(self.optimizer.param_groups, lr, tasks, lowest_layer)
        self.state.select(moments_of)
        zero = self.deepspeed.optimizer
        for index, shard in enumerate(self.shards):
            zero.averaged_gradients[index] = [shard]
        with gathers_only([i for i, group in enumerate(self.optimizer.param_groups) if not group["idle"]]):
            self.deepspeed.step()
        assert not zero.overflow, "DeepSpeed left out a step whose gradient had been found finite"

    def refresh_weights(self) -> None:
        """Give the model the weights that its shards hold, after these were changed from outside; all ranks take part."""
        zero = self.deepspeed.optimizer
        if self.deepspeed.zero_optimization_stage() < 3:
            zero.update_lp_params()
            return
        for group in range(len(self.partition.masters)):
            zero._reassign_or_swap_out_partitioned_parameters(group)
        if zero.persistent_parameters:
            zero.persistent_parameters[0].partition(zero.persistent_parameters)
            zero.persistent_parameters[0].all_gather(zero.persistent_parameters)

    @contextmanager
    def whole_weights(self) -> Iterator[None]:
        """Every rank sees the model's whole weights inside; all ranks take part."""
        if self.deepspeed.zero_optimization_stage() < 3:
            yield
            return
        from deepspeed.runtime.zero import GatheredParameters

        with GatheredParameters(list(self.model.parameters())):
            yield


def start_engine(model: MultitaskModel, config: RunConfig, device: torch.device) -> Engine:
    """Shard `model` over the ranks as `config.zero` says.

    Needs an initialised process group. Precision `autocast` leaves the weights in fp32 (the step opens the autocast
    region), `bf16` keeps bf16 weights with fp32 masters in the shards.
    """
    deepspeed = import_deepspeed(device.type)
    if device.type == "cuda":
        # DeepSpeed takes the GPU of this number; workers that share a GPU have another number on their host.
        os.environ["LOCAL_RANK"] = str(device.index)
    model.to(device)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    optimizer = _build_optimizer(parameter_groups(model, config), config)
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=deepspeed_config(config))
    assert torch.device(engine.device).type == device.type, f"DeepSpeed took {engine.device}, not {device}"
    assert device.index is None or torch.device(engine.device).index == device.index, (engine.device, device)
    if config.zero.stage == 3:
        free_unused_gradients(engine.optimizer)
    read_partition = zero3_partition if config.zero.stage == 3 else zero12_partition
    partition = read_partition(engine.optimizer, names)
    sizes = partition.group_sizes
    shards = [torch.zeros(size, dtype=torch.float32, device=device) for size in sizes]
    if isinstance(optimizer, WholeTensorOptimizer):
        optimizer.attach(partition)
        return Engine(engine, partition, shards, WholeTensorState(optimizer))
    return Engine(engine, partition, shards, FlatState(engine.optimizer.optimizer, partition))


def _build_optimizer(groups: list[dict[str, Any]], config: RunConfig) -> torch.optim.Optimizer:
    if runs_on_flat_shards(config.optimizer):
        return build_optimizer(groups, config.optimizer)
    return WholeTensorOptimizer(groups, lambda own: build_optimizer(own, config.optimizer))


def deepspeed_config(config: RunConfig) -> dict[str, Any]:
    """What DeepSpeed is told. Clipping is 0 here, since the step clips the combined gradient itself."""
    zero: dict[str, Any] = {"stage": config.zero.stage}
    if config.zero.stage < 3:
        zero["compute_grad_norm"] = False
    else:
        # One sub-group for each group, however large: step counts belong to groups.
        zero["sub_group_size"] = 10**15
        # Its bucket of gradients takes 2 GB, and no gradient comes there.
        zero["contiguous_gradients"] = False
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": 0.0,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        # The step has looked already.
        "bf16": {"enabled": config.precision == "bf16", "check_grad_overflow": False},
        "steps_per_print": None,
    }


def import_deepspeed(device: str | None = None) -> Any:
    """DeepSpeed, quiet, on `device`, or on what torch has; the first import in a process decides."""
    if device is not None:
        os.environ["DS_ACCELERATOR"] = device
    os.environ.setdefault("DS_ACCELERATOR", "cuda" if torch.cuda.is_available() else "cpu")
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    import deepspeed

    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", r".*all_gather_into_tensor", FutureWarning)
    # Its shared-memory all-reduce is compiled for a minute at first use; no step here reduces through DeepSpeed.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    return deepspeed
