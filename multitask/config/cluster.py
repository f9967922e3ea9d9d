"""Where a run runs and who watches it."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from multitask.config.base import ByName, Config
from multitask.config.messages import shown
from multitask.config.uris import without_secret


class ClusterConfig(Config):
    """Workers, their resources and their storage."""

    workers: int | tuple[int, int] = Field(
        default=1,
        description="processes that share every batch, 1 or more; [least, most]: as many as the cluster has room for, as hosts come and go",
    )
    device: Literal["auto", "cpu", "gpu"] = Field(default="auto", description="auto: GPUs where the cluster has any")
    cpus_per_worker: float = Field(default=1, gt=0, description="CPUs that Ray sets aside for a worker")
    gpus_per_worker: float = Field(default=1, gt=0, description="read only where workers have GPUs")
    peak_tflops: float | None = Field(
        default=None,
        gt=0,
        description="peak TFLOP/s of a worker's device in the run's precision, for throughput/mfu; by the device's name if not given",
    )
    storage: Annotated[str, AfterValidator(without_secret)] = Field(
        default="runs", description="run folders are made here: a folder or URI that every worker can write"
    )
    collective_timeout: float = Field(
        default=1800, gt=0, description="seconds after which a rank that the others wait for is taken for dead"
    )
    bucket_mb: float = Field(
        default=25, gt=0, description="MiB of gradients that leave together while the backward pass goes on, about"
    )
    wire: Literal["fp32", "bf16"] = Field(
        default="fp32",
        description="in what gradients cross the network: bf16 halves the bytes and keeps 8 bits of each number; sums are in fp32",
    )
    host_first: bool = Field(
        default=True,
        description="sum gradients within a host before they cross to others, where hosts have 2, 4, 8, … workers in a row: fewer bytes and messages, the same bits (with wire=bf16 other ones)",
    )
    max_failures: int = Field(default=3, ge=0, description="worker failures after which the run is given up")
    spares: bool = Field(
        default=True,
        description="keep an idle process beside each worker of a run, so that a lost one is replaced in seconds",
    )
    wait: float = Field(default=600, ge=0, description="seconds to wait for nodes that an autoscaler has to bring")
    driver_labels: ByName[str] = Field(
        default={}, description="labels of the nodes that hold the processes which drive a sweep's trials; all if empty"
    )
    export: bool = Field(default=True, description="write the best checkpoint as an export when the run ends")
    address: str | None = Field(default=None, description="a running Ray cluster; found or started if not given")

    @field_validator("workers", mode="before")
    @classmethod
    def _number_or_range(cls, value: object) -> object:
        numbers: list[Any] = list(value) if isinstance(value, list | tuple) else [value, value]
        whole = all(isinstance(number, int) and not isinstance(number, bool) and number >= 1 for number in numbers)
        if not whole or len(numbers) != 2 or numbers[0] > numbers[1]:
            raise ValueError(f"must be a number, 1 or more, or [least, most] with least ≤ most, got {shown(value)}")
        return numbers[0] if numbers[0] == numbers[1] else tuple(numbers)

    @property
    def least_workers(self) -> int:
        """The fewest with which the run goes on."""
        return self.workers if isinstance(self.workers, int) else self.workers[0]

    @property
    def most_workers(self) -> int:
        """The most that it takes."""
        return self.workers if isinstance(self.workers, int) else self.workers[1]


# What W&B's library takes (`wandb.Settings`, and its artifacts for the name of a run's model).
MOST_CHARACTERS, MOST_TAG_CHARACTERS = 128, 64
_NOT_IN_PROJECTS = "/\\#?%:"


class TrackingConfig(Config):
    """Weights & Biases. `auto` is online where the user is logged in and offline otherwise."""

    mode: Literal["auto", "online", "offline", "disabled"] = Field(
        default="auto", description="auto: online where the user is logged in, offline otherwise"
    )
    project: str = Field(default="concord", description="W&B's project")
    entity: str | None = Field(default=None, description="W&B's user or team; the login's own if not given")
    group: str | None = Field(default=None, description="W&B's group; a sweep gives its trials its own")
    tags: tuple[str, ...] = Field(default=(), description="W&B's tags")
    job_type: str = Field(default="train", description="what W&B calls the kind of run, as `trial` in a sweep")
    extra: dict[str, Any] = Field(default={}, description="added to the W&B run's config under its own keys")
    log_model: bool = Field(default=True, description="upload the exported best model as an artifact")

    @model_validator(mode="after")
    def _names_are_such_as_wandb_takes(self) -> "TrackingConfig":
        if self.mode == "disabled":
            return self
        if not 1 <= len(self.project) <= MOST_CHARACTERS or set(self.project) & set(_NOT_IN_PROJECTS):
            raise ValueError(
                f"project must have 1 to {MOST_CHARACTERS} characters and none of {' '.join(_NOT_IN_PROJECTS)}, as W&B wants it, "
                f"got {shown(self.project)}"
            )
        for tag in self.tags:
            if not 1 <= len(tag) <= MOST_TAG_CHARACTERS:
                raise ValueError(
                    f"tags must have 1 to {MOST_TAG_CHARACTERS} characters each, as W&B wants it, got {shown(tag)}"
                )
        return self
