"""From a config to Ray Train workers: connect or start Ray, check resources, run, and tell the outcome."""

import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from cluster.launch.growth import FIXED, Growth, read_growth
from cluster.launch.life_watch import LifeWatch
from cluster.launch.local_ray import local_ray
from cluster.launch.nodes import connected_ray, live_nodes
from cluster.launch.resources import ResourcePlan, plan_resources
from cluster.launch.waiting import PendingWatch, say_device, wait_for_resources
from cluster.storage.run_folder import RunFolder
from cluster.training.observer import Observer, Outcome
from multitask.config import RunConfig
from multitask.errors import UserError
from multitask.interrupt import interruptible, sigterm_like_ctrl_c

# Read by Ray when it is imported: look at the workers twice a second, and send no usage statistics.
os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

# Tune's own output, loggers and snapshots: the sweep's folder and display are ours. A trial that fails at once reports no score.
for _name, _value in {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}.items():
    os.environ.setdefault(_name, _value)

# Ray warns of more processes than cores: those of a sweep are no accident, most of them wait. It shows the log of a raylet that
# died: that of this host is told by `LifeWatch`, that of another by the workers that it took along.
_NOT_SHOWN = ("worker processes have been started on node", "Raylet is terminated.")


def train_on_ray(config: RunConfig, trackers: Sequence[Observer], display: Observer, started: float) -> Outcome:
    """Run `config` on a Ray cluster, found or started here, and show it on `display`. What it lacks is asked for and waited for.

    `trackers` watch it where its controller is, which may be another machine; they are pickled on their way.

    Raises:
        UserError: the data or the storage are not as the config wants them, or the cluster cannot hold it, or has not grown
            in `cluster.wait` seconds.
    """
    with ThreadPoolExecutor(1) as background:
        tables = background.submit(_prepare, config)
        with ray_cluster(config, lambda: _goes_on(config)) as nodes, sigterm_like_ctrl_c():
            growth = read_growth()
            plan = plan_resources(config.cluster, nodes, growth)
            say_device(config.cluster, plan, growth)
            tables.result()
            wait_for_resources(plan, config.cluster.wait)
            return _fit(config, plan, trackers, display, started)


def _goes_on(config: RunConfig) -> str:
    """What to do about a run whose Ray or `torchrun` has died, and what becomes of it."""
    from cluster.storage.checkpoint import FOLDER, MANIFEST

    storage = RunFolder.of(config).storage
    # One that was being written has no manifest yet.
    saved = [name for name in storage.folders(FOLDER) if storage.exists(f"{FOLDER}/{name}/{MANIFEST}")]
    told = f"goes on from step {int(saved[-1].removeprefix('step-'))}" if saved else "begins anew"
    return f"start again: the run {told}"


def train_here(config: RunConfig, trackers: Sequence[Observer], display: Observer, started: float) -> Outcome:
    """Run `config` in this process, one of `torchrun`'s or a plain one, without Ray.

    Where `torchrun` dies meanwhile, this process ends with one line and exit code 1.
    """
    with _torchrun_watch(lambda: _goes_on(config)), interruptible() as interrupted:
        from cluster.training.observer import ObserverGroup
        from cluster.training.session import LocalSession
        from cluster.training.worker import train

        observers = [ObserverGroup([*trackers, display])]
        session = LocalSession(config.cluster.device, observers, config.cluster.collective_timeout, interrupted)
        try:
            return train(config, session, started)
        finally:
            session.close()


def _torchrun_watch(advice: Callable[[], str]) -> AbstractContextManager[object]:
    """Of the store that `torchrun` holds for its ranks, if it does; the first rank of each host tells of its death."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return nullcontext()
    address = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    return LifeWatch({"torchrun": address}, advice if os.environ.get("LOCAL_RANK") == "0" else None)


def _prepare(config: RunConfig) -> None:
    """Read, check and tokenise the data. Imported here, in the background: torch and transformers while Ray starts."""
    from multitask.data import prepare_tables

    prepare_tables(config)


@contextmanager
def ray_cluster(
    config: RunConfig, advice: Callable[[], str] = lambda: "start again"
) -> Iterator[list[dict[str, float]]]:
    """Connect to the cluster of `cluster.address` or of the environment, else start one here for as long as it takes.

    A process that has a Ray session already keeps it, and is left with it. Gives the resources of each node that is alive.
    Where Ray dies meanwhile, this process ends with one line: exit code 1, and `advice` for what a new start does.
    """
    import ray

    if ray.is_initialized():
        warnings_to_stderr()
        yield live_nodes()[0]
        return
    address = config.cluster.address or os.environ.get("RAY_ADDRESS")
    with _connected(address) if address else local_ray() as folder:
        warnings_to_stderr()
        with LifeWatch(connected_ray(), advice, may_come_back=folder is None, scratch=folder):
            yield live_nodes()[0]


def available_nodes(config: RunConfig) -> tuple[list[dict[str, float]], Growth]:
    """Resources of the nodes that a run of `config` would find, without a Ray of its own, and what can come to them."""
    has_session = "ray" in sys.modules and sys.modules["ray"].is_initialized()
    if has_session or config.cluster.address or os.environ.get("RAY_ADDRESS"):
        with ray_cluster(config) as nodes:
            return nodes, read_growth()
    import torch

    return [{"CPU": float(os.cpu_count() or 1), "GPU": float(torch.cuda.device_count())}], FIXED


def warnings_to_stderr() -> None:
    """What Ray itself has to say of the cluster goes to stderr: stdout is the command's, and may be JSON."""
    from ray._private import worker

    own = worker.print_to_stdstream

    def show(data: dict[str, Any], ignore_prefix: bool) -> None:
        if lines := [line for line in data["lines"] if not any(text in line for text in _NOT_SHOWN)]:
            own({**data, "lines": lines, "is_err": True}, ignore_prefix)

    if own.__module__ == worker.__name__:
        worker.print_to_stdstream = show


@contextmanager
def _connected(address: str) -> Iterator[None]:
    import ray

    try:
        _connect(address)
        yield
    finally:
        ray.shutdown()


def _connect(address: str) -> None:
    import ray

    try:
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UserError(
            f"cluster.address: no Ray answers at {address!r}: {str(error).strip().splitlines()[0]}"
        ) from None


def _fit(
    config: RunConfig, plan: ResourcePlan, trackers: Sequence[Observer], display: Observer, started: float
) -> Outcome:
    from cluster.launch.metrics import RunMetrics
    from cluster.launch.run_board import BoardObserver, BoardReader, ControllerObserver, create_board
    from cluster.launch.trainer import RunTrainer

    board, watcher = create_board(), _Watcher(display)
    observer = ControllerObserver([*trackers, RunMetrics(), BoardObserver(board)])
    with PendingWatch(), BoardReader(board, watcher):
        error, result = None, None
        try:
            result = RunTrainer(config, plan, started, [observer], spares=config.cluster.spares).fit()
        except Exception as raised:
            error = raised
    return _outcome(watcher, result, error)


def _outcome(watcher: "_Watcher", result: Any, error: Exception | None) -> Outcome:
    """What the watcher was told, what the workers returned, or the error that ended it."""
    if isinstance(error, UserError):
        raise error
    if watcher.outcome is not None:
        return watcher.outcome
    if error is not None:
        raise error
    return Outcome(**result.return_value)


class _Watcher:
    """Passes the stream on to the display, but for the failure of a run that only lacks something of the user's."""

    def __init__(self, display: Observer) -> None:
        self._display = display
        self.outcome: Outcome | None = None
        self._begun = False

    def start(self, run: Any) -> None:
        self._begun = True
        self._display.start(run)

    def report(self, metrics: dict[str, Any]) -> None:
        self._display.report(metrics)

    def finish(self, outcome: Outcome) -> None:
        if self._begun:
            self.outcome = outcome
            self._display.finish(outcome)
