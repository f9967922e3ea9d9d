"""Where it runs: workers, sharding, checkpoints, sweeps, jobs, tracking, export and the command line.

Contains none of the mathematics of learning; that is `multitask`. What the commands do, from Python:

    run = cluster.train("main", ["optimizer.lr=1e-5"])
    run.scores, run.history.dev
    run.predictor().predict("sst", ["a superb film"])
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cluster.api.run_result import RunResult, load_run
    from cluster.api.train_run import train
else:
    from importlib import import_module

    # Looked up when they are asked for: who imports `cluster` alone waits neither for torch nor for Ray.
    _HOMES = {
        "RunResult": "cluster.api.run_result",
        "load_run": "cluster.api.run_result",
        "train": "cluster.api.train_run",
    }

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_HOMES[name]), name)


__all__ = ["RunResult", "load_run", "train"]
