"""Do paper A's epochs, learning rates and dropout rank the same here?

Gan, Monsereenusorn and Cockroft: "Fine-tuning minBERT on Downstream Tasks with Gradient Surgery and Weighted Losses", table 2:
epochs 10 and 20, learning rate 1e-3, 1e-5 and 1e-7, dropout .3 and .4. The paper trained five of the twelve configurations, the
base (10, 1e-5, .3) and four that differ from it in one: these are tried first; the grid has all of them. The paper's recipe is `a-pears-wl`. Of a recipe
with several phases, the epochs are those of the last.
"""

from typing import TYPE_CHECKING, Any

from multitask.config import RunConfig

if TYPE_CHECKING:
    from ray.tune.search.sample import Domain


def space(base: RunConfig) -> dict[str, "Domain"]:
    """Three choices, twelve configurations."""
    from ray import tune

    return {
        _epochs(base): tune.choice([10, 20]),
        "optimizer.lr": tune.choice([1e-3, 1e-5, 1e-7]),
        "head.dropout": tune.choice([0.3, 0.4]),
    }


def points(base: RunConfig) -> list[dict[str, Any]]:
    """The five configurations of table 2, in its order."""
    names = (_epochs(base), "optimizer.lr", "head.dropout")
    rows = ((10, 1e-5, 0.3), (20, 1e-5, 0.3), (10, 1e-3, 0.3), (10, 1e-7, 0.3), (10, 1e-5, 0.4))
    return [dict(zip(names, row, strict=True)) for row in rows]


def _epochs(base: RunConfig) -> str:
    return f"phases.{len(base.phases) - 1}.epochs"
