"""Do paper B's optimizers rank the same here?

Cai: "minBERT and Downstream Tasks", table 3: AdamW, Adamax and QHAdam at 1e-5, LAMB at 1e-4 and 1e-5, five configurations, compared
after the first epoch. The paper's recipes are `b-cosine-siar-adamw` and its kin. What all optimizers have (weight decay, decay by
layer) stays as the recipe has it.
"""

from collections.abc import Mapping
from typing import Any

from multitask.config import RunConfig
from tune_spaces.core.parameter import Parameter
from tune_spaces.core.settings import configured

RATE = 1e-5
# With the library's (1, 1) QHAdam is Adam.
QHADAM = {"nus": [0.7, 1.0]}
_SHARED = ("weight_decay", "layer_decay", "per_task")


def space(base: RunConfig) -> dict[str, Parameter]:
    """The optimizer, and LAMB's learning rate."""
    from ray import tune

    return {
        "optimizer.name": Parameter("optimizer.name", tune.choice(["adamw", "adamax", "qhadam", "lamb"])),
        "optimizer.lr": Parameter("optimizer.lr", tune.choice([1e-4, 1e-5]), {"optimizer.name": ("lamb",)}),
    }


def to_config(base: RunConfig, values: Mapping[str, Any]) -> RunConfig:
    """The recipe with another optimizer."""
    kept = {f"optimizer.{key}": getattr(base.optimizer, key) for key in _SHARED}
    options = {"optimizer.options": QHADAM} if values["optimizer.name"] == "qhadam" else {}
    return configured(base, {**kept, "optimizer.lr": RATE, **options, **values})
