"""Spaces that cannot be searched."""

from collections.abc import Mapping
from typing import Any

from ray import tune

from multitask.config import RunConfig
from tune_spaces import Parameter


def allowed(base: RunConfig, values: Mapping[str, Any]) -> bool:
    """A constraint that `excluded` never meets."""
    return values.get("optimizer.lr", 0) < 1e-3


def circle(base: RunConfig) -> dict[str, Any]:
    """Two parameters that wait for one another."""
    return {
        "encoder.pooling": Parameter("encoder.pooling", tune.choice(["mean"]), {"schedule.decay": ("linear",)}),
        "schedule.decay": Parameter("schedule.decay", tune.choice(["linear"]), {"encoder.pooling": ("mean",)}),
    }


def rounded(base: RunConfig) -> dict[str, Any]:
    """A kind of range that is not supported."""
    return {"schedule.warmup": tune.quniform(0, 0.5, 0.1)}


def searched_on_a_grid(base: RunConfig) -> dict[str, Any]:
    """What Tune users write for a grid."""
    return {"optimizer.lr": tune.grid_search([1e-5, 1e-4])}


def empty(base: RunConfig) -> dict[str, Any]:
    """Nothing."""
    return {}


def excluded(base: RunConfig) -> dict[str, Any]:
    """Every sample breaks the module's constraint."""
    return {"optimizer.lr": tune.uniform(2e-3, 3e-3)}
