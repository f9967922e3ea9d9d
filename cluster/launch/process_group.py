"""The process group of a run's workers, kept on loopback where they are all on a Ray that was started here."""

import socket
from collections.abc import Callable
from datetime import timedelta
from importlib import import_module
from typing import Any

from ray.train.torch import TorchConfig
from ray.train.torch.config import _TorchBackend

from cluster.training.loopback import LOOPBACK


class RunTorchConfig(TorchConfig):
    """Ray Train's own, by another backend."""

    @property
    def backend_cls(self) -> type["RunBackend"]:
        """What Ray Train starts the process group by."""
        return RunBackend


class RunBackend(_TorchBackend):
    """Ray Train's own, whose store listens on loopback where the workers meet there: torch's listens everywhere."""

    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        """Start the process group on all workers."""
        worker_group.execute(keep_store_on_loopback)
        super().on_start(worker_group, backend_config)


def keep_store_on_loopback() -> None:
    """In this process, the store of a process group that meets at 127.0.0.1 listens there alone."""
    from torch._C._distributed_c10d import TCPStore

    # By its name: torch.distributed has a function that is called as the module.
    rendezvous: Any = import_module("torch.distributed.rendezvous")
    create: Callable[..., Any] = rendezvous._create_c10d_store
    if create.__module__ == __name__:
        return

    def on_loopback(host: str, port: int, rank: int, world: int, timeout: timedelta, *rest: Any, **named: Any) -> Any:
        if host != LOOPBACK or rank != 0:
            return create(host, port, rank, world, timeout, *rest, **named)
        listener = socket.create_server((LOOPBACK, port))
        return TCPStore(host, port, world, True, timeout, multi_tenant=True, master_listen_fd=listener.detach())

    rendezvous._create_c10d_store = on_loopback
