"""The process group of a run's workers, kept on loopback where they are all on a Ray that was started here.

Ray Train's own, but that workers alone import torch: its trainer and its controller start seconds sooner without.
"""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from typing import Any

import ray
from ray.exceptions import GetTimeoutError
from ray.train._internal.utils import get_address_and_port
from ray.train.backend import Backend, BackendConfig
from ray.train.v2._internal.util import TrainingFramework

from cluster.training.backends import BACKENDS
from cluster.training.loopback import LOOPBACK

_END_S = 30.0


@dataclass
class RunGroup(BackendConfig):
    """How the workers meet (`cluster.training.backends`). `timeout_s`: of collectives."""

    use_gpu: bool
    timeout_s: int

    @property
    def backend_cls(self) -> type["RunBackend"]:
        """What Ray Train starts the process group by."""
        return RunBackend

    @property
    def framework(self) -> TrainingFramework:
        """What Ray's dashboard says of it."""
        return TrainingFramework.TORCH

    @property
    def train_func_context(self) -> Callable[[], Any]:
        """In what a worker trains."""
        return on_own_device


class RunBackend(Backend):
    """Joins the workers and parts them again, from Ray Train's controller."""

    share_cuda_visible_devices = True

    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        """Start the process group on all workers."""
        address, port = worker_group.execute_single(0, get_address_and_port)
        backend, world = BACKENDS["cuda" if backend_config.use_gpu else "cpu"], len(worker_group)
        meeting = (address, port, backend, world, backend_config.timeout_s)
        ray.get([worker_group.execute_single_async(rank, join, rank, *meeting) for rank in range(world)])

    def on_shutdown(self, worker_group: Any, backend_config: Any) -> None:
        """Leave it on all workers, those that do not answer left out."""
        with suppress(GetTimeoutError):
            ray.get(worker_group.execute_async(leave, len(worker_group) > 1), timeout=_END_S)


def join(rank: int, address: str, port: int, backend: str, world: int, timeout_s: int) -> None:
    """Be rank `rank` of the process group that meets at `address` and `port`."""
    from ray.train.torch import config

    os.environ |= {"MASTER_ADDR": address, "MASTER_PORT": str(port)}
    keep_store_on_loopback()
    config._set_torch_distributed_env_vars()
    config._setup_torch_process_group(backend, rank, world, "env://", timeout_s)


def leave(is_shared: bool) -> None:
    """Give up what this process holds of the process group, and the group where others are in it."""
    from ray.train.torch.config import _shutdown_torch

    _shutdown_torch(destroy_process_group=is_shared)


@contextmanager
def on_own_device() -> Iterator[None]:
    """With the GPU that Ray gave this worker as torch's own."""
    from ray.train.torch.config import TorchConfigContextManager

    with TorchConfigContextManager():
        yield


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
