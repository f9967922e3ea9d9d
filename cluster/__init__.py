"""Where it runs: workers, sharding, checkpoints, sweeps, jobs, tracking, export and the command line.

Contains none of the mathematics of learning; that is `multitask`. What the commands do, from Python:

    run = cluster.train("main", ["optimizer.lr=1e-5"])
    run.scores, run.history.dev
    run.predictor().predict("sst", ["a superb film"])
    sweep = cluster.sweep("main", space="combination", trials=20)
    sweep.trials.sort_values("dev/mean")
    sweep.best(by="course").export("model")
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cluster.api.begin_sweep import sweep
    from cluster.api.run_result import RunResult, load_run
    from cluster.api.submit_job import submit
    from cluster.api.sweep_result import SweepResult, load_sweep
    from cluster.api.train_run import train
else:
    from importlib import import_module

    # Looked up when they are asked for: who imports `cluster` alone waits neither for torch nor for Ray.
    _HOMES = {
        "RunResult": "cluster.api.run_result",
        "SweepResult": "cluster.api.sweep_result",
        "load_run": "cluster.api.run_result",
        "load_sweep": "cluster.api.sweep_result",
        "submit": "cluster.api.submit_job",
        "sweep": "cluster.api.begin_sweep",
        "train": "cluster.api.train_run",
    }

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_HOMES[name]), name)


__all__ = ["RunResult", "SweepResult", "load_run", "load_sweep", "submit", "sweep", "train"]
