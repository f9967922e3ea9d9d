"""Seconds that two ranks wait for the network, with gradients that leave under the backward pass and with gradients that leave after it.

    python -m tests.benchmarks.overlap --mbit 400      # as root: a network namespace whose loopback is that slow

The random BERT of tests/benchmarks/traffic.py. Both ways take turns; `after`: one bucket, which is full when the pass is over. Medians of
`--steps` steps of rank 0: `step`, and `waits`: what of it the stopwatch calls "communicate".
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from transformers import BertConfig, BertModel

from multitask.config import load_recipe
from tests.benchmarks.measured_step import batches, build_step, share
from tests.benchmarks.traffic import SIZE, VOCABULARY, recipe
from tests.builders import save_random
from tests.distributed.ranks import fork_ranks

_SPACE = "concord-overlap"
# MiB of a bucket.
_WAYS = {"under": 1.0, "after": 1000.0}


def be_rank(encoder: str, groups: int, stage: int, steps: int, rows: int) -> None:
    """One rank, of which the first prints, and the end of the process."""
    from cluster.training.session import LocalSession

    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    session, made = LocalSession("cpu"), {}
    for way, size in _WAYS.items():
        settings = load_recipe(recipe(Path(encoder), groups, stage), [f"cluster.bucket_mb={size}"])
        names = tuple(settings.tasks)
        whole = batches(rows * session.world, 32, VOCABULARY, names)
        made[way] = build_step(settings, names, session), share(whole, session.rank, session.world, packed=stage < 3)
    taken: dict[str, dict[str, list[float]]] = {way: {"step": [], "waits": []} for way in made}
    for step in range(steps + 2):
        for way, (one, work) in made.items():
            dist.barrier()
            start, waited = time.perf_counter(), one.watch.seconds["communicate"]
            one.run(work, 1e-5)
            if step >= 2:
                taken[way]["step"].append(time.perf_counter() - start)
                taken[way]["waits"].append(one.watch.seconds["communicate"] - waited)
    told = {way: {key: round(statistics.median(own), 3) for key, own in of.items()} for way, of in taken.items()}
    if session.rank == 0:
        print("TOLD", json.dumps({"zero": stage, "groups": groups, **told}), flush=True)
    session.close()
    # gloo's threads sometimes abort the interpreter's exit, after all work is done.
    os._exit(0)


def _measure(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as name:
        encoder = save_random(lambda: BertModel(BertConfig(vocab_size=VOCABULARY, **SIZE)), Path(name) / "encoder")
        for stage in arguments.stages:
            for groups in arguments.groups:
                given: tuple[Any, ...] = (str(encoder), groups, stage, arguments.steps, arguments.rows)
                for code, output in fork_ranks(2, be_rank, given, Path(name)):
                    assert code == 0, output[-6000:]
                    print(*(line.removeprefix("TOLD ") for line in output.splitlines() if line.startswith("TOLD")))


def main() -> None:
    """Print one line of JSON for each stage and number of groups."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--mbit", type=int, default=400, help="of the loopback, both ways together")
    parser.add_argument("--stages", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--groups", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--steps", type=int, default=9)
    parser.add_argument("--rows", type=int, default=16, help="of each task batch per rank")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        _measure(arguments)
        return
    subprocess.run(["ip", "netns", "add", _SPACE], check=True)
    inside = ["ip", "netns", "exec", _SPACE]
    slow = f"tc qdisc add dev lo root tbf rate {arguments.mbit}mbit burst 256kb latency 400ms"
    try:
        subprocess.run([*inside, "ip", "link", "set", "lo", "up"], check=True)
        subprocess.run([*inside, *slow.split()], check=True)
        subprocess.run(
            [*inside, sys.executable, "-m", "tests.benchmarks.overlap", "--inside", *sys.argv[1:]], check=True
        )
    finally:
        subprocess.run(["ip", "netns", "del", _SPACE], check=True)


if __name__ == "__main__":
    main()
