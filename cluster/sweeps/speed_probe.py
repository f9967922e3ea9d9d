"""How fast a trial will train, found out by a few steps in this process."""

import tempfile
import time
from dataclasses import dataclass

import torch

from cluster.step.stopwatch import Stopwatch
from cluster.storage.run_folder import RunFolder
from cluster.storage.storage import Storage
from cluster.training.loop import Run
from cluster.training.session import LocalSession
from multitask.config import RunConfig
from multitask.data import Tables
from multitask.trainer.record import TrainRecord

STEPS = 3
# Forward alone is about a third of forward and backward.
_EVALUATION_SHARE = 1 / 3


@dataclass(frozen=True)
class Speed:
    """Seconds that a worker takes for a training row and for an evaluation of all dev rows."""

    row: float
    evaluation: float


def probe_speed(config: RunConfig, tables: Tables) -> Speed:
    """Train `STEPS` steps, after one to warm up, with as many threads as a worker has. Nothing is kept."""
    torch.set_num_threads(max(1, int(config.cluster.cpus_per_worker)))
    session = LocalSession(config.cluster.device)
    try:
        with tempfile.TemporaryDirectory() as place:
            run = Run(config, session, RunFolder(Storage(place)), tables, Stopwatch(session.device))
            run.engine.deepspeed.train()
            _train(run, 1)
            rows, start = run.progress.rows, time.perf_counter()
            _train(run, min(STEPS, run.schedule.steps - 1))
            seconds = (time.perf_counter() - start) / max(1, run.progress.rows - rows)
    finally:
        session.close()
    dev_rows = sum(table.rows for table in tables.dev.values())
    return Speed(seconds, dev_rows * seconds * _EVALUATION_SHARE)


def _train(run: Run, steps: int) -> None:
    record = TrainRecord()
    for _ in range(steps):
        run.train_step(record)
    # A GPU is waited for, whatever `training.check_every` says.
    run.looks.look(run.progress, record)
