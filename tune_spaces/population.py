"""Which schedules over time suit this recipe: what should change in the middle of the run?

For `--scheduler pbt`: learning rate, dropout, and those numbers of the recipe's own sampling strategy and combination that can
change while weights are kept, such as temperature, α and weights by task. Choices of methods stay: a population that changed
them would compare runs whose steps mean different things. To search another method's schedule, name it in the recipe.
"""

from multitask.config import RunConfig
from tune_spaces.core.parameter import Parameter
from tune_spaces.core.recipe_parameters import dropout, learning_rate, own_numbers


def space(base: RunConfig) -> dict[str, Parameter]:
    """Numbers alone, all of them mutable."""
    return {"optimizer.lr": learning_rate(base)} | dropout(base) | own_numbers(base)
