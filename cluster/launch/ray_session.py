"""A worker of Ray Train as a session."""

import itertools
import secrets
import threading
from collections import deque
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch
import torch.distributed as dist
from ray.exceptions import RayError

from cluster.launch.spare import keep_spare
from cluster.storage.lease_record import Launch
from cluster.training.agreement import Agreement
from cluster.training.worker import train
from multitask.config import parse_config
from multitask.signature import check_key

_MOST_UNDERWAY = 256
# The spare process imports when this one has begun to train: both would be slower at once.
_SPARE_AFTER_S = 8.0


class RaySession:
    """Ray Train has started the process group; rank 0's reports go to its controller, where the observers are."""

    def __init__(
        self, timeout_s: float, controller: str, launch: Launch, began: float, *, acts_on_scores: bool
    ) -> None:
        context = ray.train.get_context()
        self.rank = context.get_world_rank()
        self.world = context.get_world_size()
        self.local_rank = context.get_local_rank()
        self.device: torch.device = ray.train.torch.get_device()
        self.launch, self.began, self.acts_on_scores = launch, began, acts_on_scores
        self.agreement = Agreement(timeout_s)
        self.attempt = self.agreement.from_rank_zero(lambda: secrets.token_hex(8))
        self._reporter = Reporter(controller) if self.rank == 0 else None
        self._stop = StopNews(controller) if self.rank == 0 else None
        handle: Any = ray.get_actor(controller) if self.rank == 0 else None
        self.failures: int = ray.get(handle.failures.remote()) if handle else 0

    def report(self, metrics: dict[str, Any]) -> None:
        """Report to the controller."""
        if self._reporter:
            self._reporter.report(metrics)

    def stop_reason(self) -> str | None:
        """What the controller was asked."""
        return self._stop.reason() if self._stop else None

    def close(self) -> None:
        """Wait until the controller has all reports."""
        if self._reporter:
            self._reporter.close()


class Reporter:
    """Sends reports to the controller of a run by its name, without waiting for it but at the end.

    Checkpoints go to the run folder, not by way of Ray, so none is given here.
    """

    def __init__(self, controller: str) -> None:
        self._controller = ray.get_actor(controller)
        self._sender, self._numbers = secrets.token_hex(8), itertools.count()
        self._underway: deque[Any] = deque()

    def report(self, metrics: dict[str, Any]) -> None:
        """Send one report."""
        self._underway.append(self._controller.take.remote(self._sender, next(self._numbers), metrics))
        if len(self._underway) > _MOST_UNDERWAY:
            ray.get(self._underway.popleft())

    def close(self) -> None:
        """Wait until all have come in, or the controller is gone."""
        with suppress(RayError):
            ray.get(list(self._underway))


class StopNews:
    """Listens to the controller of a run for the wish that it ends; looking costs no message."""

    def __init__(self, controller: str) -> None:
        self._answer: Any = ray.get_actor(controller).stop_asked.remote()

    def reason(self) -> str | None:
        """The reason once there is one. A controller that is gone asks for nothing."""
        if not ray.wait([self._answer], timeout=0)[0]:
            return None
        with suppress(RayError):
            reason: str = ray.get(self._answer)
            return reason
        return None


def train_worker(arguments: dict[str, Any]) -> dict[str, Any]:
    """The train function: `config` and `launch` (plain values), `started`, the `controller`'s name, the signature key's, whether to keep `spares`, `acts_on_scores` (`Session`)."""
    assert dist.is_initialized()
    config = parse_config(arguments["config"], "config")
    check_key(arguments.get("signature_key", ""))
    launch = Launch.from_dict(arguments["launch"])
    session = RaySession(
        config.cluster.collective_timeout,
        arguments["controller"],
        launch,
        arguments["started"],
        acts_on_scores=arguments["acts_on_scores"],
    )
    spare = threading.Timer(_SPARE_AFTER_S, keep_spare)
    spare.daemon = True
    if arguments["spares"]:
        spare.start()
    try:
        return asdict(train(config, session, arguments["started"]))
    finally:
        spare.cancel()
        session.close()
