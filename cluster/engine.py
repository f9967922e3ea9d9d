"""The DeepSpeed engine around a model: started, stepped with a combined gradient, and its shards named."""

import logging
import os
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cluster.partition import Partition, zero3_partition, zero12_partition
from multitask.config import RunConfig
from multitask.model import MultitaskModel
from multitask.optimization import build_optimizer, parameter_groups


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

    @property
    def model(self) -> MultitaskModel:
        """The model inside the engine."""
        return self.deepspeed.module

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The base optimizer, whose parameters are this rank's fp32 shards."""
        return self.deepspeed.optimizer.optimizer

    def step(self, lr: float, owners: frozenset[str]) -> None:
        """One update with the gradient in `shards`; groups of no owner in `owners` stay as they are."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr
            group["idle"] = group["owner"] not in owners
        zero = self.deepspeed.optimizer
        for index, shard in enumerate(self.shards):
            zero.averaged_gradients[index] = [shard]
        self.deepspeed.step()


def start_engine(model: MultitaskModel, config: RunConfig, device: torch.device) -> Engine:
    """Shard `model` over the ranks as `config.zero` says.

    Needs an initialised process group. Precision `autocast` leaves the weights in fp32 (the step opens the autocast
    region), `bf16` keeps bf16 weights with fp32 masters in the shards.
    """
    deepspeed = _import_deepspeed()
    model.to(device)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    optimizer = build_optimizer(parameter_groups(model, config.optimizer.weight_decay), config.optimizer)
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=deepspeed_config(config))
    read_partition = zero3_partition if config.zero.stage == 3 else zero12_partition
    partition = read_partition(engine.optimizer, names)
    sizes = partition.group_sizes
    shards = [torch.zeros(size, dtype=torch.float32, device=device) for size in sizes]
    return Engine(engine, partition, shards)


def deepspeed_config(config: RunConfig) -> dict[str, Any]:
    """What DeepSpeed is told. Clipping is 0 here, since the step clips the combined gradient itself."""
    zero: dict[str, Any] = {"stage": config.zero.stage}
    if config.zero.stage < 3:
        zero["compute_grad_norm"] = False
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": 0.0,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "bf16": {"enabled": config.precision == "bf16"},
        "steps_per_print": None,
    }


def _import_deepspeed() -> Any:
    """DeepSpeed, quiet, on the device that torch has."""
    os.environ.setdefault("DS_ACCELERATOR", "cuda" if torch.cuda.is_available() else "cpu")
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    import deepspeed

    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    # Its shared-memory all-reduce is compiled for a minute at first use; no step here reduces through DeepSpeed.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    return deepspeed
