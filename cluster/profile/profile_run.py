"""`concord profile`: some steps of the real run, timed, and a few more under torch's profiler."""

import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from cluster.profile.trace import PASSES, Operation, backward_share, longest_operations
from cluster.profile.traced_stopwatch import TracedStopwatch
from cluster.storage.run_folder import RunFolder
from cluster.training.loop import Run
from cluster.training.session import Session
from cluster.training.worker import open_tables
from multitask.config import RunConfig
from multitask.config.loading import change_config
from multitask.errors import UserError
from multitask.trainer.record import TrainRecord

# Steps before the clock starts, and steps that are traced.
WARM_UP, TRACED = 3, 3


@dataclass(frozen=True)
class Profile:
    """What `steps` steps took.

    `shares`: of the mean rank's time, by part; they add up to 1. `host` is what no part covers. `figures`: the metrics
    `throughput/…` of these steps, over all ranks. `operations`: of the first rank.
    """

    recipe: str
    device: str
    workers: int
    steps: int
    step_s: float
    shares: dict[str, float]
    figures: dict[str, float]
    operations: tuple[Operation, ...]
    trace: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"operations": [own._asdict() for own in self.operations]}


def profile_run(config: RunConfig, session: Session, steps: int, trace: Path) -> Profile:
    """Train the first steps of `config` and keep nothing of it but the file `trace`, which the first rank writes; all ranks take part.

    Raises:
        UserError: as training; the run has too few steps; the trace cannot be written.
    """
    session.agreement.from_rank_zero(lambda: _try_to_write(trace))
    with tempfile.TemporaryDirectory() as folder:
        config = change_config(config, {"cluster.storage": folder, "cluster.export": False}, "profile")
        watch = TracedStopwatch(session.device)
        run = Run(config, session, RunFolder.of(config), open_tables(config, session), watch)
        if run.schedule.steps < WARM_UP + steps + TRACED:
            least = WARM_UP + steps + TRACED
            raise UserError(f"profile: the run has {run.schedule.steps:,} steps, and {least} are needed; lower --steps")
        return _profile(run, watch, session, steps, trace)


def _profile(run: Run, watch: TracedStopwatch, session: Session, steps: int, trace: Path) -> Profile:
    run.engine.deepspeed.train()
    _train(run, WARM_UP)
    run.figures.restart()
    before = dict(watch.seconds)
    record, whole = _timed(run, steps)
    spent = {part: value - before.get(part, 0.0) for part, value in watch.seconds.items()}
    figures = run.figures.beside(record.take(run.progress))
    back, operations = _traced(run, session, trace)
    everyone = session.agreement.gather({part: value / whole for part, value in _split(spent, whole, back).items()})
    return Profile(
        recipe=run.config.name,
        device=torch.cuda.get_device_name(session.device) if session.device.type == "cuda" else "cpu",
        workers=session.world,
        steps=steps,
        step_s=whole / steps,
        shares={part: sum(own[part] for own in everyone) / len(everyone) for part in everyone[0]},
        figures={key: value for key, value in figures.items() if key.startswith("throughput/")},
        operations=tuple(operations),
        trace=str(trace),
    )


def _try_to_write(trace: Path) -> None:
    try:
        trace.parent.mkdir(parents=True, exist_ok=True)
        trace.touch()
    except OSError as error:
        raise UserError(f"--trace: cannot write {trace}: {error.strerror or error}") from None


def _train(run: Run, steps: int) -> TrainRecord:
    record = TrainRecord()
    for _ in range(steps):
        run.train_step(record)
    if problem := run.looks.look(run.progress, record):
        raise UserError(problem)
    return record


def _timed(run: Run, steps: int) -> tuple[TrainRecord, float]:
    """Record and seconds of so many steps."""
    cuda = run.session.device.type == "cuda"
    if cuda:
        torch.cuda.synchronize()
    start = time.perf_counter()
    record = _train(run, steps)
    if cuda:
        torch.cuda.synchronize()
    return record, time.perf_counter() - start


def _split(spent: Mapping[str, float], whole: float, back: float) -> dict[str, float]:
    """Seconds by part, forward and backward apart, and what is left."""
    passes = spent.get(PASSES, 0.0)
    others = {part: value for part, value in spent.items() if part != PASSES and value > 0}
    parts = {"forward": passes * (1 - back), "backward": passes * back, **others}
    return parts | {"host": max(0.0, whole - sum(parts.values()))}


def _traced(run: Run, session: Session, trace: Path) -> tuple[float, list[Operation]]:
    """Share of the backward pass and the longest operations of a few steps, which are written to `trace`."""
    on_gpu = session.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities, record_shapes=False) as profiler:
        _train(run, TRACED)
    session.agreement.from_rank_zero(lambda: profiler.export_chrome_trace(str(trace)))
    events = list(profiler.events())
    return backward_share(events, on_gpu), longest_operations(profiler.key_averages(), TRACED, on_gpu)
