"""A space that tests write as a user would, in Python."""

from collections.abc import Mapping
from typing import Any

from ray import tune

from multitask.config import RunConfig
from tune_spaces import Parameter

POINTS = ({"optimizer.lr": 1e-4, "optimizer.name": "adamw", "encoder.dropout": 0.25},)
MUTABLE = ("optimizer.lr",)


def rates(base: RunConfig) -> dict[str, Any]:
    """A rate, a dropout, an optimizer with a parameter of its own, and one of that."""
    decay = {"optimizer.name": ("adamw",)}
    return {
        "schedule.warmup": Parameter("schedule.warmup", tune.uniform(0, 0.5), {"training.patience": (3,)}),
        "training.patience": Parameter("training.patience", tune.choice([None, 3]), {"optimizer.name": ("adamax",)}),
        "optimizer.lr": tune.loguniform(1e-6, 1e-2),
        "encoder.dropout": tune.uniform(0.2, 0.6),
        "optimizer.name": tune.choice(["adamw", "adamax"]),
        "optimizer.weight_decay": Parameter("optimizer.weight_decay", tune.choice([0.0, 0.1]), decay, key="decay"),
    }


def allowed(base: RunConfig, values: Mapping[str, Any]) -> bool:
    """A constraint between two parameters."""
    return not (values.get("optimizer.lr", 0) > 1e-3 and values.get("encoder.dropout", 0) > 0.5)


def grid(base: RunConfig) -> dict[str, Any]:
    """2 · 3 configurations with adamax, of which one has a sub-choice of 2; 2 · 3 · 2 with adamw."""
    return {
        "optimizer.name": tune.choice(["adamw", "adamax"]),
        "optimizer.weight_decay": Parameter(
            "optimizer.weight_decay", tune.choice([0.0, 0.1]), {"optimizer.name": ("adamw",)}
        ),
        "phases.0.epochs": tune.randint(1, 4),
        "schedule.decay": tune.choice(["linear", "constant"]),
    }


def numbers(base: RunConfig) -> dict[str, Any]:
    """One of each kind."""
    return {
        "schedule.warmup": tune.uniform(0.1, 0.3),
        "optimizer.lr": tune.loguniform(1e-6, 1e-2),
        "phases.0.epochs": tune.randint(1, 5),
        "data.batch_size": tune.lograndint(1, 1025),
        "encoder.pooling": tune.choice(["mean", "cls", "max"]),
    }
