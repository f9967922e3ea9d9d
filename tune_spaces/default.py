"""Which learning rate, dropout, sampling strategy and combination suit this recipe, all searched together?

Each strategy and combination brings its own parameters, which are searched only where it is chosen: how fast α is annealed, the
temperature and its cap, weights by task. How many tasks a step trains is searched, too: two or more where the combination
compares tasks. `sampling` says what becomes of the recipe's phases. A recipe whose phases train one task each has learning rate
and dropout alone to search.
"""

from multitask.config import RunConfig
from tune_spaces.core.methods import shared_phases
from tune_spaces.core.parameter import Parameter
from tune_spaces.core.recipe_parameters import (
    combination_parameters,
    dropout,
    learning_rate,
    sampling_parameters,
    usable_methods,
)


def space(base: RunConfig) -> dict[str, Parameter]:
    """Learning rate, dropout, and the methods that the recipe can be trained with."""
    parameters = {"optimizer.lr": learning_rate(base)} | dropout(base)
    if shared_phases(base):
        samplings, combinations = usable_methods(base)
        parameters |= sampling_parameters(base, samplings, combinations) | combination_parameters(base, combinations)
    return parameters
