"""Tokens a second and share of the peak, beside loops that others would write; all take turns, so that a warm GPU warms all."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import torch

from cluster.training.accelerators import accelerator_of
from multitask.config import RunConfig
from multitask.data import Batch
from multitask.model import build_model, pass_cost
from tests.benchmarks.measured_step import bare_loop, batches, config, our_step
from tests.benchmarks.peers import PEERS
from tests.gpu.hugging_face import trainer_loop
from tests.gpu.row import VOCABULARY, Place, Row

TOKENS = 128
Step = Callable[[], object]

# Our own step by keys of the recipe.
OURS: dict[str, dict[str, Any]] = {
    "sum": {"combination": {"name": "sum"}},
    "pcgrad": {"combination": {"name": "pcgrad"}},
}


def rows(place: Place) -> Iterator[Row]:
    """By encoder and precision."""
    for size in place.sizes:
        for precision in ("fp32", "autocast"):
            yield from _compare(place, size, precision)


def _compare(place: Place, size: str, precision: str) -> Iterator[Row]:
    number, tokens = (4, 16) if place.small else (32, TOKENS)
    whole = {task: own.to(place.device) for task, own in batches(number, tokens, VOCABULARY).items()}
    what, encoder = f"{size}, {precision}", str(place.encoder(size))
    steps: dict[str, Step] = {}
    settings = config(encoder, OURS["sum"], 1, precision)
    steps["bare loop, sum"] = bare_loop(settings, whole, place.device)
    for name, own in OURS.items():
        steps[f"concord, {name}"] = our_step(config(encoder, own, 1, precision), whole, place.session)[0]
    for name, make in PEERS.items():
        steps[f"PCGrad of {name}"] = _autocast(place, precision, make(settings, whole))
    taken = seconds(place, steps)
    hugging_face = trainer_loop(settings, whole, place, 3 if place.small else 30)
    per_step = _flops(settings, whole)
    medians = {name: statistics.median(own) for name, own in taken.items()} | {
        "Trainer of Hugging Face, sum": hugging_face
    }
    bare = medians["bare loop, sum"]
    for name, own in medians.items():
        real = sum(int(batch.attention_mask.sum()) for batch in whole.values())
        share = _share(place, precision, per_step / own)
        yield Row("speed", f"{what}: {name}", f"{real / own:,.0f} tok/s{share}", f"{own / bare:.2f} × bare")


def seconds(place: Place, steps: Mapping[str, Step]) -> dict[str, list[float]]:
    """Of a step, by repetition; the first ones warm up."""
    warm, repetitions, inside = (1, 3, 2) if place.small else (2, 9, 10)
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for repetition in range(repetitions):
        for name, step in steps.items():
            _wait(place)
            start = time.perf_counter()
            for _ in range(inside):
                step()
            _wait(place)
            if repetition >= warm:
                taken[name].append((time.perf_counter() - start) / inside)
    return taken


def _wait(place: Place) -> None:
    if place.is_cuda:
        torch.cuda.synchronize()


def _autocast(place: Place, precision: str, step: Step) -> Step:
    def run() -> None:
        with torch.autocast(place.device.type, torch.bfloat16) if precision != "fp32" else nullcontext():
            step()

    return run


def _flops(settings: RunConfig, whole: Mapping[str, Batch]) -> float:
    """Model FLOPs of a step."""
    flops = pass_cost(build_model(settings).encoder).flops
    lengths = torch.cat([batch.attention_mask.sum(1) for batch in whole.values()]).double()
    return flops.of(float(lengths.sum()), float(lengths.square().sum()), len(lengths))


def _share(place: Place, precision: str, flops_per_s: float) -> str:
    known = accelerator_of(torch.cuda.get_device_name(place.device)) if place.is_cuda else None
    peak = known.peak("fp32" if precision == "fp32" else "autocast") if known else None
    return f", {flops_per_s / peak / 1e12:.1%} of the peak" if peak else ""
