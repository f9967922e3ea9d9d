"""What the worker loop knows of where it runs.

The loop takes a session and no Ray. `LocalSession` is one plain process or `torchrun`; `cluster.launch.ray_session` is a
worker of Ray Train.
"""

import os
import secrets
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import HashStore

from cluster.storage.lease_record import Launch
from cluster.training.agreement import Agreement
from cluster.training.backends import BACKENDS
from cluster.training.loopback import loopback_variables
from cluster.training.observer import Observer, Outcome, RunInfo
from cluster.training.stop_request import INTERRUPTED

_ALONE = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}


class Session(Protocol):
    """Rank, device, and a way to say how it goes. All ranks call `report` equally often, with the same metrics.

    `attempt`: names this start of the ranks, the same on all of them and another at each restart; folders that belong to one
    start alone, such as the probe of the storage, are called by it. `launch`: the command that started them, the same at each
    restart. `began`: its `time.time()`. `failures`: how often it lost workers since then, as rank 0 knows. `agreement`: how ranks
    tell each other what they met. `acts_on_scores`: whether who hears of a score may end the run, or let another go on with it: then
    its checkpoint is there before it is reported.
    """

    rank: int
    world: int
    local_rank: int
    device: torch.device
    attempt: str
    launch: Launch
    began: float
    failures: int
    agreement: Agreement
    acts_on_scores: bool

    def report(self, metrics: dict[str, Any]) -> None:
        """Hand on metrics that are reduced over ranks already."""

    def stop_reason(self) -> str | None:
        """Why the run shall save and end after its step, once it shall; never waits, and only rank 0's counts."""


class LocalSession:
    """One plain process, or one of `torchrun`'s; observers run on rank 0, and only watch.

    `timeout_s`: of collectives. `interrupted`: whether the run shall end after its step.

    Raises:
        UserError: `device` is not there.
    """

    def __init__(
        self,
        device: str,
        observers: Sequence[Observer] = (),
        timeout_s: float = 1800.0,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> None:
        self.rank = int(os.environ.get("RANK", 0))
        self.world = int(os.environ.get("WORLD_SIZE", 1))
        self.local_rank = int(os.environ.get("LOCAL_RANK", 0))
        self.device = _device(device, self.local_rank)
        # What `torchrun` restarts has the same parent.
        self.launch = Launch.by(os.getppid()) if "TORCHELASTIC_RUN_ID" in os.environ else Launch.here()
        self.acts_on_scores = False
        self.began, self.failures = time.time(), int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))
        self._observers = observers if self.rank == 0 else ()
        self._interrupted = interrupted
        self._alone = "MASTER_ADDR" not in os.environ
        self._before: dict[str, str | None] = {}
        self._join(timedelta(seconds=timeout_s))
        self.agreement = Agreement(timeout_s)
        self.attempt = self.agreement.from_rank_zero(lambda: secrets.token_hex(8))

    def _join(self, timeout: timedelta) -> None:
        backend = BACKENDS[self.device.type]
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        if dist.is_initialized():
            return
        if self._alone:
            # DeepSpeed reads these, also where the process group is there already.
            loopback = loopback_variables()
            self._before = {name: os.environ.get(name) for name in loopback}
            os.environ.update(_ALONE | loopback)
            dist.init_process_group(backend, store=HashStore(), rank=0, world_size=1)
        else:
            dist.init_process_group(backend, timeout=timeout)

    def report(self, metrics: dict[str, Any]) -> None:
        """Hand `metrics` to the observers."""
        for observer in self._observers:
            if "run_info" in metrics:
                observer.start(RunInfo(**metrics["run_info"]))
            elif "outcome" in metrics:
                observer.finish(Outcome(**metrics["outcome"]))
            else:
                observer.report(metrics)

    def stop_reason(self) -> str | None:
        """Ctrl-C or SIGTERM."""
        return INTERRUPTED if self._interrupted() else None

    def close(self) -> None:
        """Leave `torchrun`'s process group. One process's own stays for the next run in it: DeepSpeed keeps hold of it."""
        if not self._alone:
            dist.destroy_process_group()
        # What this process starts later may be meant for other hosts.
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _device(wanted: str, local_rank: int) -> torch.device:
    use_gpu = torch.cuda.is_available() if wanted == "auto" else wanted == "gpu"
    return torch.device("cuda", local_rank) if use_gpu else torch.device("cpu")
