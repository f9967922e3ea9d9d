"""Runs the real step on N gloo ranks, each a process of its own.

The processes are forked from one that has imported torch and DeepSpeed: importing them costs more than training a tiny model.
"""

import json
import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["cluster.training.worker", "cluster.training.session", "tests.distributed.ranks"])


def run_ranks(
    world: int,
    jobs: list[dict[str, Any]],
    folder: Path,
    steps: int = 5,
    *,
    save: bool = False,
    per_host: int | None = None,
) -> list[dict[str, np.ndarray]]:
    """Train each job's config tree on `world` ranks to step `steps`; give the trainable parameters of each, flat.

    A job whose run folder holds a checkpoint goes on from it; with `save` one is written at the end.
    """
    folder.mkdir(parents=True, exist_ok=True)
    job = folder / "job.json"
    job.write_text(json.dumps({"jobs": jobs, "steps": steps, "out": str(folder), "save": save}))
    for code, output in fork_ranks(world, work, (job,), folder, per_host=per_host):
        assert code == 0, output[-6000:]
    return [dict(np.load(folder / f"{i}.npz")) for i in range(len(jobs))]


def fork_ranks(
    world: int,
    target: Callable[..., None],
    arguments: tuple[Any, ...],
    folder: Path,
    timeout_s: float = 600,
    *,
    per_host: int | None = None,
) -> list[tuple[int | None, str]]:
    """Call `target` of a module with `arguments` in `world` processes; exit code (None: it went on) and output of each.

    `per_host`: so many of them take themselves for those of one host, if not all.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    where = {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    ranks = [where | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(world)]
    outputs = [folder / f"rank{rank}.log" for rank in range(world)]
    processes = [
        _FORKS.Process(
            target=_be_rank, args=(where, output, per_host and rank // per_host, target, arguments), daemon=True
        )
        for rank, (where, output) in enumerate(zip(ranks, outputs, strict=True))
    ]
    for process in processes:
        process.start()
    ends = time.monotonic() + timeout_s
    for process in processes:
        process.join(max(0, ends - time.monotonic()))
    told = [(process.exitcode, output.read_text()) for process, output in zip(processes, outputs, strict=True)]
    for process in processes:
        process.kill()
    return told


def _be_rank(
    rank: dict[str, str], output: Path, host: int | None, target: Callable[..., None], arguments: tuple[Any, ...]
) -> None:
    """Be one rank in a forked process, whose output goes to a file."""
    with output.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.update(rank)
    if host is not None:
        socket.gethostname = lambda: f"host{host}"
    target(*arguments)


def train_job(config: Any, session: Any, steps: int, save: bool = False) -> dict[str, np.ndarray]:
    """Trainable parameters after `steps` steps, under `dev/<task>` the predictions of every dev row, and scores of training rows."""
    from cluster.step.stopwatch import Stopwatch
    from cluster.storage.run_folder import RunFolder
    from cluster.training.loop import Run
    from cluster.training.worker import open_tables
    from multitask.evaluation import evaluate_together, train_scores
    from multitask.trainer.record import TrainRecord

    tables = open_tables(config, session)
    run = Run(config, session, RunFolder.of(config), tables, Stopwatch(session.device))
    run.restore()
    run.engine.deepspeed.train()
    for _ in range(run.progress.step, steps):
        run.train_step(TrainRecord())
    assert run.looks.look(run.progress, TrainRecord()) is None
    assert run.progress.skipped_steps == 0
    if save:
        run._save()
        run.saver.wait()
    owned = run.engine.partition.owned[session.rank]
    masters = [master.detach() for master in run.engine.partition.masters]
    mine = {n: (f.start, masters[f.group][f.offset : f.offset + f.size].numpy()) for n, f in owned.items()}
    predictions = {}
    for task, table in tables.dev.items():
        found = evaluate_together(run.engine.model, task, table, tables.pad_id, session.device, config.precision)
        assert (found is None) == (session.rank > 0)
        predictions |= {} if found is None else {f"dev/{task}": found.predictions}
    scores = train_scores(run.engine.model, config, tables, session.device)
    return _whole(mine, session.world) | predictions | {f"dev/{key}": np.array(value) for key, value in scores.items()}


def _whole(mine: dict[str, tuple[int, np.ndarray]], world: int) -> dict[str, np.ndarray]:
    import torch.distributed as dist

    everyone: list[Any] = [None] * world
    dist.all_gather_object(everyone, mine)
    names = {name for own in everyone for name in own}
    return {
        name: np.concatenate(
            [part for _, part in sorted((own[name] for own in everyone if name in own), key=lambda p: p[0])]
        )
        for name in names
    }


def work(path: Path) -> None:
    """One rank; ends the process."""
    import warnings

    import torch

    from cluster.training.session import LocalSession
    from multitask.config import parse_config

    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    job = json.loads(path.read_text())
    session = LocalSession("cpu")
    for index, tree in enumerate(job["jobs"]):
        result = train_job(parse_config(tree, "job"), session, job["steps"], job["save"])
        if session.rank == 0:
            np.savez(Path(job["out"]) / f"{index}.npz", **result)
    session.close()
    sys.stdout.flush()
    # gloo's threads sometimes abort the interpreter's exit, after all work is done.
    os._exit(0)
