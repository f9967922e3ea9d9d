"""Bytes and messages that a rank sends in a step, and the memory that the step takes: counts, the same on any machine.

    python -m tests.benchmarks.traffic                        # 1, 2 and 3 ranks, ZeRO 1 to 3, gradients of 1, 3 and 8 groups
    python -m tests.benchmarks.traffic --worlds 2 --set cluster.bucket_mb=1

A random BERT of 3.2 million dense parameters. MB are 10⁶ bytes. `sent`, `messages`: by kind of collective, of the rank that sends most;
what a rank sends itself does not count, and a ring is assumed where gloo or NCCL choose the way. `launches`: operations that compute, the
passes of the encoder included. `peak`: the most memory that tensors
took at a time, from the first forward pass to the combined gradient, above what was there before, in fp32 copies of the dense
parameters; nothing is kept from a step before.
"""

import argparse
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from transformers import BertConfig, BertModel

from cluster.step.step import MultitaskStep
from multitask.config import load_recipe
from multitask.model.pass_cost import Launches
from multitask.work import RoundWork
from tests.benchmarks.measured_step import batches, build_step, share
from tests.builders import save_random
from tests.distributed.ranks import fork_ranks
from tests.distributed.traffic import Traffic

MB = 1e6
VOCABULARY = 8000
SIZE = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024}


def peak_bytes(work: Callable[[], None]) -> int:
    """The most that tensors hold at a time during `work`, above what they held before."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        work()
    assert profile.profiler is not None
    results = profile.profiler.kineto_results
    assert results is not None
    held = peak = 0
    for event in sorted((e for e in results.events() if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def peak_of_step(made: MultitaskStep, work: RoundWork) -> int:
    """`peak_bytes` of a step up to the combined gradient: the optimizer's own is left out."""
    engine_step = made.engine.step
    made.engine.step = lambda *arguments: None  # type: ignore[method-assign]
    peak = peak_bytes(lambda: made.run(work, 1e-5))
    made.engine.step = engine_step  # type: ignore[method-assign]
    return peak


def _measure(case: dict[str, Any], session: Any) -> dict[str, Any]:
    names = tuple(case["recipe"]["tasks"])
    settings = load_recipe(case["recipe"], case["set"])
    whole = batches(2 * session.world, 16, VOCABULARY, names)
    made = build_step(settings, names, session)
    work = share(whole, session.rank, session.world, packed=settings.zero.stage < 3)
    shared = made.engine.model.shared_parameters()
    dense = sum(getattr(p, "ds_numel", p.numel()) for n, p in shared.items() if "word_embeddings" not in n)
    peak = peak_of_step(made, work)
    with Traffic() as traffic, Launches() as launches:
        made.run(work, 1e-5)
    return {
        **{"ranks": session.world, "zero": settings.zero.stage, "groups": case["groups"]},
        "dense MB": round(dense * 4 / MB, 2),
        "sent MB": {name: round(size / MB, 3) for name, size in traffic.bytes.items() if size},
        "messages": {name: number for name, number in traffic.messages.items() if number},
        "launches": launches.number,
        "peak": round(peak / (4 * dense), 2),
    }


def be_rank(job: str) -> None:
    """One rank, which writes what it counted beside the job and ends the process."""
    from cluster.training.session import LocalSession

    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    session = LocalSession("cpu")
    figures = [_measure(case, session) for case in json.loads(Path(job).read_text())]
    everyone: list[Any] = [None] * session.world
    dist.all_gather_object(everyone, figures)
    if session.rank == 0:
        most = [max(own, key=lambda f: sum(f["sent MB"].values())) for own in zip(*everyone, strict=True)]
        for figure, own in zip(most, zip(*everyone, strict=True), strict=True):
            figure["peak"] = max(f["peak"] for f in own)
        Path(job).with_suffix(".result").write_text(json.dumps(most))
    session.close()
    sys.stdout.flush()
    # gloo's threads sometimes abort the interpreter's exit, after all work is done.
    os._exit(0)


def recipe(encoder: Path, groups: int, stage: int) -> dict[str, Any]:
    """Tasks of single texts, whose files are never read."""
    files = {"train": ["none.csv"], "dev": ["none.csv"]}
    columns = {"text": "text", "label": "label"}
    names = [f"t{number}" for number in range(max(groups, 3))]
    return {
        "name": "traffic",
        "encoder": {"name": str(encoder)},
        "tasks": {name: {"kind": {"name": "binary"}, "columns": columns, "files": files} for name in names},
        "zero": {"stage": stage},
        "combination": {"name": "sum" if groups == 1 else "pcgrad"},
    }


def main() -> None:
    """Print one line of JSON for each number of ranks, stage and number of groups."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--worlds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--stages", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--groups", type=int, nargs="+", default=[1, 3, 8], help="1: the sum of three tasks")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="of the recipe")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        encoder = save_random(lambda: BertModel(BertConfig(vocab_size=VOCABULARY, **SIZE)), folder / "encoder")
        cases = [
            {"groups": groups, "recipe": recipe(encoder, groups, stage), "set": arguments.set}
            for stage in arguments.stages
            for groups in arguments.groups
        ]
        for world in arguments.worlds:
            job = folder / f"world{world}.json"
            job.write_text(json.dumps(cases))
            for code, output in fork_ranks(world, be_rank, (str(job),), folder):
                assert code == 0, output[-6000:]
            for figure in json.loads(job.with_suffix(".result").read_text()):
                print(json.dumps(figure), flush=True)


if __name__ == "__main__":
    main()
