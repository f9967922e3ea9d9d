"""Runs the real step on N gloo ranks: `python -m tests.distributed.ranks JOB.json` in each process.

One start of the ranks takes several configs, since starting torch costs more than training a tiny model.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np


def run_ranks(
    world: int, jobs: list[dict[str, Any]], folder: Path, steps: int = 5, *, save: bool = False
) -> list[dict[str, np.ndarray]]:
    """Train each job's config tree on `world` ranks to step `steps`; give the trainable parameters of each, flat.

    A job whose run folder holds a checkpoint goes on from it; with `save` one is written at the end.
    """
    folder.mkdir(parents=True, exist_ok=True)
    job = folder / "job.json"
    job.write_text(json.dumps({"jobs": jobs, "steps": steps, "out": str(folder), "save": save}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    processes = []
    for rank in range(world):
        env = os.environ | {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(world),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
        }
        command = [sys.executable, "-m", "tests.distributed.ranks", str(job)]
        processes.append(
            subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        )
    outputs = [process.communicate(timeout=600)[0] for process in processes]
    for process, output in zip(processes, outputs, strict=True):
        assert process.returncode == 0, output[-6000:]
    return [dict(np.load(folder / f"{i}.npz")) for i in range(len(jobs))]


def _train(config: Any, session: Any, steps: int, save: bool) -> dict[str, np.ndarray]:
    """Trainable parameters after `steps` steps, and under `dev/<task>` the predictions of every dev row."""
    from cluster.step.stopwatch import Stopwatch
    from cluster.storage.run_folder import RunFolder
    from cluster.training.loop import Run
    from cluster.training.open_tables import open_tables
    from multitask.evaluation import evaluate
    from multitask.trainer.record import TrainRecord

    tables = open_tables(config, session.local_rank == 0)
    run = Run(config, session, RunFolder.of(config), tables, Stopwatch(session.device))
    run.restore()
    run.engine.deepspeed.train()
    for _ in range(run.progress.step, steps):
        run.train_step(TrainRecord())
    assert run.progress.skipped_steps == 0
    if save:
        run._save()
    owned = run.engine.partition.owned[session.rank]
    masters = [master.detach() for master in run.engine.partition.masters]
    mine = {n: (f.start, masters[f.group][f.offset : f.offset + f.size].numpy()) for n, f in owned.items()}
    predictions = {
        f"dev/{task}": evaluate(
            run.engine.model, task, table, tables.pad_id, session.device, config.precision
        ).predictions
        for task, table in tables.dev.items()
    }
    return _whole(mine, session.world) | predictions


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


def main() -> None:
    """One rank."""
    import warnings

    import torch

    from cluster.training.session import LocalSession
    from multitask.config import parse_config

    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    job = json.loads(Path(sys.argv[1]).read_text())
    session = LocalSession("cpu")
    for index, tree in enumerate(job["jobs"]):
        result = _train(parse_config(tree, "job"), session, job["steps"], job["save"])
        if session.rank == 0:
            np.savez(Path(job["out"]) / f"{index}.npz", **result)
    session.close()
    sys.stdout.flush()
    # gloo's threads sometimes abort the interpreter's exit, after all work is done.
    os._exit(0)


if __name__ == "__main__":
    main()
