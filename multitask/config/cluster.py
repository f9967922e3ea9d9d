"""Where a run runs and who watches it."""

from typing import Literal

from pydantic import Field

from multitask.config.base import Config


class ClusterConfig(Config):
    """Workers, their resources and their storage."""

    workers: int = Field(default=1, ge=1)
    device: Literal["auto", "cpu", "gpu"] = "auto"
    cpus_per_worker: float = Field(default=1, gt=0)
    gpus_per_worker: float = Field(default=1, gt=0, description="read only where workers have GPUs")
    storage: str = Field(
        default="runs", description="run folders are made here: a folder or URI that every worker can write"
    )
    max_failures: int = Field(default=3, ge=0, description="worker failures after which the run is given up")
    address: str | None = Field(default=None, description="a running Ray cluster; found or started if not given")


class TrackingConfig(Config):
    """Weights & Biases. `auto` is online where the user is logged in and offline otherwise."""

    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    project: str = "concord"
    entity: str | None = None
    group: str | None = None
    tags: tuple[str, ...] = ()
    log_model: bool = Field(default=True, description="upload the exported best model as an artifact")
