"""Which learning rate suits this recipe, everything else being as it is?

One line from 1e-6 to 1e-3, all orders of magnitude alike. The schedule stays, and so does the rate of a phase that has its own.
"""

from multitask.config import RunConfig
from tune_spaces.core.parameter import Parameter
from tune_spaces.core.recipe_parameters import learning_rate

POINTS = ({"optimizer.lr": 1e-5}, {"optimizer.lr": 1e-4})


def space(base: RunConfig) -> dict[str, Parameter]:
    """`optimizer.lr`."""
    return {"optimizer.lr": learning_rate(base)}
