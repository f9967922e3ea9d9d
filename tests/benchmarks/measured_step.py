"""One step, the real one and a bare PyTorch loop, on random words: what the benchmarks of steps share."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from cluster.step.step import MultitaskStep
from cluster.step.stopwatch import Stopwatch
from cluster.zero.engine import start_engine
from multitask.combination import Setting, build_combination
from multitask.config import RunConfig, parse_config
from multitask.data import Batch
from multitask.model import EmbeddingTap, MultitaskModel, build_model, compile_layers
from multitask.objectives import RowObjective, Teacher
from multitask.sampling import Round, TaskBatch, split_round
from multitask.work import MicroBatch, RoundWork

TASKS = {
    "a": {"name": "classification", "classes": 5},
    "b": {"name": "binary"},
    "c": {"name": "regression", "low": 0, "high": 5},
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
    model: MultitaskModel = build_model(settings, session.device)
    embedding = model.token_embedding()
    assert embedding is not None
    bregman = settings.regularization.bregman
    teacher = Teacher(model.to(session.device), bregman, 1) if bregman else None
    engine = start_engine(model, settings, session.device)
    compile_layers(model.encoder, settings)
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
