"""A real Ray Train run, watched from its controller and, by a board, from this process."""

import os
import shutil
import tempfile
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import pytest
import ray
import ray.train

from cluster.launch.ray_session import Reporter
from cluster.launch.run_board import BoardObserver, BoardReader, ControllerObserver, create_board
from cluster.launch.trainer import ObservedTrainer
from cluster.tracking.tracker import WandbTracker
from multitask.config.cluster import TrackingConfig
from tests.unit.training.samples import dev_record, outcome, run_info, train_record
from tests.unit.training.test_observer import Recorder
from tests.wandb_reader import read_runs

pytestmark = [pytest.mark.ray, pytest.mark.slow]
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "OMP_NUM_THREADS": "1",
    "WANDB_MODE": "offline",
}


@pytest.fixture(scope="module", autouse=True)
def local_ray():
    before = dict(os.environ)
    os.environ.update(ENVIRONMENT)
    folder = tempfile.mkdtemp(prefix="r", dir="/tmp")  # Ray's sockets need a short path
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=80 * 2**20,
        logging_level="ERROR",
        log_to_driver=False,
        _temp_dir=folder,
    )
    yield
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)
    os.environ.clear()
    os.environ.update(before)


def train(config: dict) -> None:
    """Reports steps 10 … 40 and crashes after step 30 the first time; it then goes on from step 10."""
    with closing(Reporter(config["controller"])) as reporter:
        crashed = Path(config["folder"]) / "crashed"
        resumed = 10 if crashed.exists() else 0
        reporter.report({"run_info": asdict(run_info(config["folder"], resumed_step=resumed))})
        for step in range(resumed + 10, 50, 10):
            reporter.report(train_record(step) | dev_record(step, step / 100 + (0.001 if resumed else 0)))
            if step == 30 and not resumed:
                crashed.touch()
                raise RuntimeError("the worker crashes\nwith details")
        reporter.report({"outcome": asdict(outcome(files={}))})


def fit(folder: Path, max_failures: int) -> Recorder:
    seen, board = Recorder(), create_board()
    observers = [WandbTracker(TrackingConfig(project="p")), BoardObserver(board)]
    controller = f"observed-{max_failures}"
    trainer = ObservedTrainer(
        controller,
        train_loop_per_worker=train,
        train_loop_config={"folder": str(folder), "controller": controller},
        scaling_config=ray.train.ScalingConfig(num_workers=1, resources_per_worker={"CPU": 1}),
        run_config=ray.train.RunConfig(
            name="observed",
            storage_path=str(folder / "ray"),
            failure_config=ray.train.FailureConfig(max_failures=max_failures),
            callbacks=[ControllerObserver(observers)],
        ),
    )
    with BoardReader(board, seen):
        try:
            trainer.fit()
        except ray.train.TrainingFailedError:
            assert max_failures == 0
    return seen


def test_a_crash_and_restart_is_one_run_in_which_everything_is_seen(tmp_path):
    seen = fit(tmp_path, max_failures=1)
    steps = [(event, value["step"] if event == "report" else None) for event, value in seen.calls]
    reports = [("report", step) for step in (10, 20, 30)], [("report", step) for step in (20, 30, 40)]
    assert steps == [("start", None), *reports[0], ("start", None), *reports[1], ("finish", None)]
    end = seen.calls[-1][1]
    assert end.status == "finished"
    assert Path(end.files["W&B"]).parent == tmp_path / "wandb"

    (run,) = read_runs(tmp_path)
    # What was trained twice is recorded once.
    assert run.points("dev/sst/accuracy") == [(10, 0.1), (20, 0.2), (30, 0.3), (40, 0.401)]
    assert run.id == "main-1"
    assert run.exit_code == 0
    assert run.summary["status"] == "finished"


def test_a_run_given_up_ends_as_failed_for_all_observers(tmp_path):
    seen = fit(tmp_path, max_failures=0)
    end = seen.calls[-1][1]
    assert (end.status, end.error) == ("failed", "worker 0: RuntimeError: the worker crashes")
    (run,) = read_runs(tmp_path)
    assert run.exit_code == 1
    assert run.summary["error"] == end.error
