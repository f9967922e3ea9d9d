"""The trajectory that N ranks must follow: the plain trainer's, in this process."""

from typing import Any

import torch

from multitask.config import parse_config
from multitask.data import prepare_tables
from multitask.trainer.trainer import Trainer


def plain_trajectory(tree: dict[str, Any], steps: int) -> dict[str, torch.Tensor]:
    """Trainable parameters after `steps` steps of the plain trainer on the config tree; it takes batches whole."""
    torch.set_num_threads(1)
    config = parse_config({**tree, "training": {**tree.get("training", {}), "accumulation": 1}}, "test")
    trainer = Trainer(config, prepare_tables(config), torch.device("cpu"))
    for _ in range(steps):
        assert trainer.train_step().applied
    return trainer.step.weights.copy()
