"""A worker of Ray Train as a session."""

import secrets
from dataclasses import asdict
from typing import Any

import ray.train
import ray.train.torch
import torch
import torch.distributed as dist

from cluster.storage.lease_record import Launch
from cluster.training.agreement import from_rank_zero
from cluster.training.worker import train
from multitask.config import parse_config
from multitask.errors import UserError


class RaySession:
    """Ray Train has started the process group; reports go to its controller, where the observers are."""

    def __init__(self, launch: Launch) -> None:
        context = ray.train.get_context()
        self.rank = context.get_world_rank()
        self.world = context.get_world_size()
        self.local_rank = context.get_local_rank()
        self.device: torch.device = ray.train.torch.get_device()
        self.attempt: str = from_rank_zero(lambda: secrets.token_hex(8))
        self.launch = launch

    def report(self, metrics: dict[str, Any]) -> None:
        """Report to the controller. Checkpoints go to the run folder, not by way of Ray, so none is given here."""
        ray.train.report(metrics)


def train_worker(arguments: dict[str, Any]) -> dict[str, Any]:
    """The train function: `config` and `launch` (plain values) and `started`. Gives the outcome, or what the user can mend.

    A `UserError` is returned and not raised: Ray would start the workers again, to meet it again.
    """
    assert dist.is_initialized()
    try:
        config = parse_config(arguments["config"], "config")
        outcome = train(config, RaySession(Launch.from_dict(arguments["launch"])), arguments["started"])
    except UserError as error:
        return {"user_error": str(error)}
    return {"outcome": asdict(outcome)}
