"""Which loss combination suits this recipe, and with which parameters, everything else being as it is?

Weights by task are searched from 1/4 to 4 and scaled to a mean of 1: their scale would be another name of the learning rate.
Combinations that compare tasks are left out where the recipe's sampling trains one task in a step; the space `default` searches
both together.
"""

from multitask.config import RunConfig
from tune_spaces.core.parameter import Parameter
from tune_spaces.core.recipe_parameters import check_several_tasks, combination_parameters, usable_alone


def space(base: RunConfig) -> dict[str, Parameter]:
    """`combination.name` and the combinations' parameters.

    Raises:
        UserError: no phase trains several tasks.
    """
    check_several_tasks(base, "combination")
    return combination_parameters(base, usable_alone("combination", base))
