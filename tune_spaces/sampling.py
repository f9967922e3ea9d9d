"""Which sampling strategy suits this recipe, and with which parameters, everything else being as it is?

The strategy is chosen for every phase that trains several tasks; phases of one task stay as they are. Strategies that the recipe
cannot be trained with are left out, as `scaled_batch_sizes` where tasks have batch sizes of their own. How many tasks a step
trains: 1 … K, or 2 … K where the recipe's combination compares tasks; at most K − 1 where tasks are drawn, since all strategies
that draw K of K are alike (of two tasks, both are drawn for a combination that compares them).

`sequential` declares no range and is left out: all trials train the same number of rows, and a strategy that trains one task after
the other would have seen another task alone at each evaluation, or not all tasks by the end.
"""

from multitask.config import RunConfig
from tune_spaces.core.parameter import Parameter
from tune_spaces.core.recipe_parameters import check_several_tasks, sampling_parameters, usable_alone


def space(base: RunConfig) -> dict[str, Parameter]:
    """`sampling.name`, the strategies' parameters and the number of tasks in a step.

    Raises:
        UserError: no phase trains several tasks.
    """
    check_several_tasks(base, "sampling")
    return sampling_parameters(base, usable_alone("sampling", base), [base.combination.name])
