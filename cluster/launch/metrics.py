"""What a run exports to Prometheus by way of Ray: gauges `concord_*`, which Ray shows as `ray_concord_*` on every host."""

from typing import Any

from ray.util.metrics import Gauge

from cluster.training.observer import Outcome, RunInfo

# Name to what it says and its tags. Of gauges that a run sets, the first tag is its name.
EXPORTED: dict[str, tuple[str, tuple[str, ...]]] = {
    "concord_step": ("optimizer steps done", ("run",)),
    "concord_total_steps": ("optimizer steps of the whole run", ("run",)),
    "concord_workers": ("workers of the present attempt", ("run",)),
    "concord_restarts": ("attempts after the first, as far as this start of the run has seen them", ("run",)),
    "concord_tokens_per_second": ("tokens trained a second, all workers together", ("run",)),
    "concord_padding": ("padding among the tokens that were computed, a fraction", ("run",)),
    "concord_mfu": ("model FLOPs over the peak of all devices, a fraction, where the peak is known", ("run",)),
    "concord_peak_memory_gib": ("memory of the worker that held most, since its start", ("run",)),
    "concord_slowest_over_mean": ("how much longer the slowest worker works on its rows than the mean one", ("run",)),
    "concord_slowest_rank": ("the rank of the slowest worker", ("run",)),
    "concord_conflict_rate": ("pairs of task gradients with a negative cosine, a fraction", ("run",)),
    "concord_gradient_norm": ("norm of the combined gradient", ("run",)),
    "concord_skipped_steps": ("steps left out, their gradients not finite", ("run",)),
    "concord_checkpoint_seconds": ("seconds for which training stood still for the last checkpoint", ("run",)),
    "concord_loss": ("mean loss of a task since the last record", ("run", "task")),
    "concord_dev_score": ("a task's score on its dev rows; `mean` is that over the tasks", ("run", "task", "metric")),
    "concord_sweep_trials": ("trials of a sweep in a state", ("sweep", "state")),
}
# What a record calls them.
_OF_RECORDS = {
    "step": "concord_step",
    "throughput/tokens_per_s": "concord_tokens_per_second",
    "throughput/padding": "concord_padding",
    "throughput/mfu": "concord_mfu",
    "throughput/peak_memory_gib": "concord_peak_memory_gib",
    "throughput/slowest_over_mean": "concord_slowest_over_mean",
    "throughput/slowest_rank": "concord_slowest_rank",
    "throughput/checkpoint_s": "concord_checkpoint_seconds",
    "combination/conflict_rate": "concord_conflict_rate",
    "train/grad_norm": "concord_gradient_norm",
    "train/skipped_steps": "concord_skipped_steps",
}
_LOSS, _DEV, _MEAN = "train/loss/", "dev/", "dev/mean"


class Gauges:
    """The gauges of `EXPORTED`, made when they are first set: in the process that sets them, and not before it knows Ray."""

    def __init__(self) -> None:
        self._gauges: dict[str, Gauge] = {}

    def set(self, name: str, value: float, *tags: str) -> None:
        """Set the gauge `name`; `tags` in the order of `EXPORTED`."""
        says, keys = EXPORTED[name]
        if name not in self._gauges:
            self._gauges[name] = Gauge(name, says, keys)
        self._gauges[name].set(float(value), dict(zip(keys, tags, strict=True)))


class RunMetrics:
    """Observes a run and exports it; picklable until it starts."""

    def __init__(self) -> None:
        self._gauges: Gauges | None = None
        self._run, self._restarts = "", -1

    def start(self, run: RunInfo) -> None:
        """Export what is known at the start; a second one is a restart."""
        self._gauges = self._gauges or Gauges()
        self._run, self._restarts = run.name, self._restarts + 1
        for name, value in (
            ("concord_step", run.resumed_step),
            ("concord_total_steps", run.total_steps),
            ("concord_workers", run.workers),
            ("concord_restarts", self._restarts),
        ):
            self._gauges.set(name, value, run.name)

    def report(self, metrics: dict[str, Any]) -> None:
        """Export one record."""
        if self._gauges is None:
            return
        for key, value in metrics.items():
            if name := _OF_RECORDS.get(key):
                self._gauges.set(name, value, self._run)
            elif key.startswith(_LOSS):
                self._gauges.set("concord_loss", value, self._run, key.removeprefix(_LOSS))
            elif key == _MEAN:
                self._gauges.set("concord_dev_score", value, self._run, "mean", "mean")
            elif key.startswith(_DEV) and key.count("/") == 2:
                _, task, metric = key.split("/")
                self._gauges.set("concord_dev_score", value, self._run, task, metric)

    def finish(self, outcome: Outcome) -> None:
        """Nothing: the process that exports ends with the run."""
