"""The curve to 4,096 GPUs: what `concord plan` works out for four encoders, sum beside PCGrad, 3 and 16 tasks.

    python -m tests.benchmarks.scale --figure docs/scale.svg

Writes the figure, and prints the table of docs/scale.md. A GPU has the same rows in every step, however many there are: `rows` of 128
tokens, by encoder. The encoders are outlines, without weights; the words of a row are drawn as Zipf draws them.
"""

import argparse
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from transformers import BertConfig, BertTokenizer

from cluster.scale.machine import Machine, machine
from cluster.scale.model_shape import ModelShape, model_shape
from cluster.scale.rank_work import StepWork
from cluster.scale.step_plan import StepPlan, plan_step
from cluster.scale.step_time import collective_seconds
from multitask.combination import Setting, build_combination
from multitask.config import RunConfig
from multitask.sampling import split_round
from tests.benchmarks.measured_step import config

TOKENS, VOCABULARY = 128, 30522
GPUS = (1, 8, 32, 128, 512, 1024, 2048, 4096)
GOOD = 0.9


class Size(NamedTuple):
    """Layers, width, inner width, heads, and rows of a GPU in a step."""

    layers: int
    width: int
    inner: int
    heads: int
    rows: int


SIZES = {
    "MiniLM, 22 M": Size(6, 384, 1536, 12, 512),
    "BERT-base, 109 M": Size(12, 768, 3072, 12, 256),
    "BERT-large, 335 M": Size(24, 1024, 4096, 16, 128),
    "3 B": Size(36, 2560, 10240, 32, 32),
}


def recipe(encoder: Path, method: str, tasks: int) -> RunConfig:
    """So many tasks of five classes in bf16."""
    kinds = {f"t{number}": {"name": "classification", "classes": 5} for number in range(tasks)}
    return config(str(encoder), {"combination": {"name": method}}, 1, "bf16", kinds)


def outline(folder: Path, size: Size) -> Path:
    """A folder that describes an encoder of this size, without its weights."""
    place = folder / f"{size.width}"
    if not place.exists():
        BertConfig(
            vocab_size=VOCABULARY,
            num_hidden_layers=size.layers,
            hidden_size=size.width,
            intermediate_size=size.inner,
            num_attention_heads=size.heads,
        ).save_pretrained(place)
        words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{number}" for number in range(VOCABULARY - 5))]
        BertTokenizer(vocab={word: number for number, word in enumerate(words)}).save_pretrained(place)
    return place


@cache
def words_of(rows: int) -> np.ndarray:
    """The different words of so many rows."""
    generator = np.random.default_rng(rows)
    return np.unique(1000 + generator.zipf(1.2, rows * TOKENS) % (VOCABULARY - 1000))


def work(settings: RunConfig, gpus: int, rows: int) -> StepWork:
    """A step of `rows` rows for each of `gpus` GPUs, shared as the step shares them."""
    tasks = list(settings.tasks)
    each = -(-rows * gpus // len(tasks))
    shares = split_round([np.full(each, TOKENS)] * len(tasks), gpus, packed=True)
    combination = build_combination(settings, Setting(dict.fromkeys(tasks, each), 1000, 0))
    groups = combination.plan(tasks, 0).groups
    group_of = [next(g for g, group in enumerate(groups) if task in group) for task in tasks]
    taken: list[list[tuple[int, int]]] = [
        [(group_of[k], own.stop - own.start) for k, own in enumerate(share) if own.stop > own.start] for share in shares
    ]
    heads = [[task for task, own in zip(tasks, share, strict=True) if own.stop > own.start] for share in shares]
    counts = np.array([sum(number for _, number in own) for own in taken])
    by_group: list[Mapping[int, int]] = [
        {g: sum(n for group, n in own if group == g) for g in sorted({group for group, _ in own})} for own in taken
    ]
    return StepWork(
        tasks=len(tasks),
        groups=len(groups),
        rows=int(counts.sum()),
        held=tuple(tuple(own) for own in by_group),
        heads=tuple(map(tuple, heads)),
        tokens=counts * TOKENS,
        slots=counts * TOKENS,
        squares=counts * TOKENS**2,
        sequences=counts,
        passes=np.array([len(own) for own in taken]),
        words=tuple({g: words_of(number) for g, number in own.items()} for own in by_group),
    )


def curve(settings: RunConfig, shape: ModelShape, machines: Machine, rows: int) -> list[StepPlan]:
    """By number of GPUs, eight on a host."""
    return [plan_step(settings, shape, machines, work(settings, gpus, rows), gpus, 8) for gpus in GPUS]


def efficiencies(plans: Sequence[StepPlan], alone: StepPlan) -> list[float]:
    """Tokens a second and GPU over those of one GPU, which has as many rows, all of one task."""
    return [plan.tokens_per_s / plan.gpus / alone.tokens_per_s for plan in plans]


def line(name: str, method: str, tasks: int, plans: Sequence[StepPlan], alone: StepPlan, machines: Machine) -> str:
    """One line of the table."""
    shares = efficiencies(plans, alone)
    good = [number for number, share in enumerate(shares) if share >= GOOD]
    below = plans[good[-1] + 1 if good else 0]
    why = f"{below.gpus:,}: {reason(alone, below, machines)}"
    some = "".join(
        f" {share:.0%} |" for plan, share in zip(plans, shares, strict=True) if plan.gpus in (8, 128, 1024, 4096)
    )
    memory = max(plan.memory.total for plan in plans[1:]) / 2**30
    return f"| {name} | {method} | {tasks} |{some} {memory:.0f} | {why} |"


def reason(alone: StepPlan, plan: StepPlan, machines: Machine) -> str:
    """What the step waits for most, beside one GPU."""
    passes, network = plan.time.compute - alone.time.compute, plan.time.network
    gradients = plan.time.memory - alone.time.memory
    if gradients > max(passes, network):
        return f"{plan.work.groups} gradients compared"
    if passes > network:
        return f"{plan.work.passes.max()} passes of few rows"
    empty = [call._replace(sent=0 * call.sent, outside=0 * call.outside) for call in plan.collectives]
    if sum(collective_seconds(call, machines, plan.host_of) for call in empty) > network / 2:
        return f"latency of {len(empty)} collectives"
    seconds: Counter[str] = Counter()
    for call in plan.collectives:
        seconds[call.name.split()[0]] += collective_seconds(call, machines, plan.host_of)
    return f"bytes of {seconds.most_common(1)[0][0]}"


def draw(lines: Mapping[tuple[str, str, int], Sequence[float]], path: Path) -> None:
    """Efficiency over GPUs, an encoder beside the other."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "concord"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(SIZES), figsize=(12, 3.2), sharey=True)
    looks: dict[tuple[str, int], Any] = {
        ("sum", 3): {"color": "tab:blue"},
        ("sum", 16): {"color": "tab:blue", "linestyle": "--"},
        ("pcgrad", 3): {"color": "tab:orange"},
        ("pcgrad", 16): {"color": "tab:orange", "linestyle": "--"},
    }
    for place, name in zip(axes, SIZES, strict=True):
        for (own, method, tasks), shares in lines.items():
            if own == name:
                place.plot(GPUS, shares, label=f"{method}, {tasks} tasks", **looks[method, tasks])
        place.axhline(GOOD, color="gray", linewidth=0.7)
        place.set_xscale("log", base=2)
        place.set_title(name, fontsize=10)
        place.set_xlabel("GPUs")
    axes[0].set_ylabel("tokens a second and GPU,\nof those of one GPU alone")
    axes[0].set_ylim(0, 1.1)
    axes[-1].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Print the table and draw the figure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--gpu", default="h100")
    parser.add_argument("--network", default="3200Gb")
    parser.add_argument("--figure", type=Path)
    arguments = parser.parse_args()
    machines = machine(arguments.gpu, arguments.network, "bf16")
    lines: dict[tuple[str, str, int], Sequence[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, size in SIZES.items():
            one = recipe(outline(Path(folder), size), "sum", 1)
            alone = plan_step(one, model_shape(one, "encoder"), machines, work(one, 1, size.rows), 1, 8)
            for tasks in (3, 16):
                settings = {method: recipe(outline(Path(folder), size), method, tasks) for method in ("sum", "pcgrad")}
                shape = model_shape(settings["sum"], "encoder")
                for method, own in settings.items():
                    plans = curve(own, shape, machines, size.rows)
                    lines[name, method, tasks] = efficiencies(plans, alone)
                    print(line(name, method, tasks, plans, alone, machines), flush=True)
    if arguments.figure:
        draw(lines, arguments.figure)


if __name__ == "__main__":
    main()
