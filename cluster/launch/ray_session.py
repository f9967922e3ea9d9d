"""A worker of Ray Train as a session."""

import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch
import torch.distributed as dist

from cluster.training.agreement import Agreement
from cluster.training.worker import train
from multitask.config import parse_config

_MOST_UNDERWAY = 256


class RaySession:
    """Ray Train has started the process group; rank 0's reports go to its controller, where the observers are."""

    def __init__(self, timeout_s: float, controller: str) -> None:
        context = ray.train.get_context()
        self.rank = context.get_world_rank()
        self.world = context.get_world_size()
        self.local_rank = context.get_local_rank()
        self.device: torch.device = ray.train.torch.get_device()
        self.agreement = Agreement(timeout_s)
        self.attempt = self.agreement.from_rank_zero(lambda: secrets.token_hex(8))
        self.report: Callable[[dict[str, Any]], None] = (
            report_to(controller) if self.rank == 0 else lambda metrics: None
        )


def report_to(controller: str) -> Callable[[dict[str, Any]], None]:
    """What sends reports to the controller of that name, without waiting for any but the last, which has the outcome.

    Checkpoints go to the run folder, not by way of Ray, so none is given here.
    """
    actor = ray.get_actor(controller)
    underway: deque[Any] = deque()

    def report(metrics: dict[str, Any]) -> None:
        underway.append(actor.take.remote(metrics))
        while underway and ("outcome" in metrics or len(underway) > _MOST_UNDERWAY):
            ray.get(underway.popleft())

    return report


def train_worker(arguments: dict[str, Any]) -> dict[str, Any]:
    """The train function: `config` (plain values), `started` and the `controller`'s name. Gives the outcome."""
    assert dist.is_initialized()
    config = parse_config(arguments["config"], "config")
    session = RaySession(config.cluster.collective_timeout, arguments["controller"])
    return asdict(train(config, session, arguments["started"]))
