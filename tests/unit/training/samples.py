"""A run of two tasks and its records."""

from typing import Any

from cluster.training.observer import Outcome, RunInfo

TASKS = {
    "sst": {"train_rows": 8544, "dev_rows": 1101, "cut_rows": 0, "kind": "classification", "metric": "accuracy"},
    "sts": {"train_rows": 6040, "dev_rows": 863, "cut_rows": 0, "kind": "regression", "metric": "pearson"},
}
PHASES = [{"epochs": 2, "sampling": {"name": "annealed"}}]
TRAINING = {"selection": "dev/mean"}


def run_info(folder: str = "runs/main", **changes: Any) -> RunInfo:
    values: dict[str, Any] = {
        "run_id": "main-1",
        "name": "main",
        "folder": folder,
        "config": {
            "seed": 3,
            "optimizer": {"name": "adamw", "lr": 5e-5},
            "phases": PHASES,
            "combination": {"name": "pcgrad"},
            "training": TRAINING,
        },
        "workers": 2,
        "device": "cpu",
        "total_steps": 801,
        "tasks": TASKS,
        "data_hashes": {"sst": "abc"},
        "versions": {"torch": "2.13"},
    }
    return RunInfo(**(values | changes))


def train_record(step: int, loss: float = 1.213) -> dict[str, Any]:
    return {
        "step": step,
        "epoch": step / 400,
        "phase": 0,
        "train/rows": 32 * step,
        "train/loss/sst": loss,
        "train/loss/sts": 0.93,
        "train/share/sst": 0.5,
        "train/share/sts": 0.5,
        "train/lr": 3e-5,
        "train/grad_norm": 1.5,
        "train/skipped_steps": 0,
        "combination/weight/sst": 1.0,
        "combination/weight/sts": 1.0,
        "combination/cosine/sst-sts": -0.2,
        "combination/conflict_rate": 0.25,
        "throughput/tokens_per_s": 1204.3,
        "throughput/padding": 0.031,
    }


def dev_record(step: int, accuracy: float, best: bool = True) -> dict[str, Any]:
    scores = {
        "dev/sst/accuracy": accuracy,
        "dev/sst/macro_f1": accuracy - 0.1,
        "dev/sts/pearson": 0.8,
        "dev/sts/spearman": 0.79,
    }
    return {"step": step, "epoch": step / 400, "phase": 0, **scores, "dev/mean": (accuracy + 0.8) / 2, "dev/best": best}


def outcome(**changes: Any) -> Outcome:
    values: dict[str, Any] = {
        "status": "finished",
        "best_step": 400,
        "best_score": 0.65,
        "dev": {"dev/sst/accuracy": 0.5, "dev/sts/pearson": 0.8, "dev/mean": 0.65},
        "baseline_dev": {"dev/sst/accuracy": 0.2, "dev/sts/pearson": 0.1, "dev/mean": 0.15},
        "seconds": {"train": 301.0, "evaluate": 65.0},
        "tokens_per_s": 1204.0,
        "files": {"run folder": "runs/main"},
    }
    return Outcome(**(values | changes))
