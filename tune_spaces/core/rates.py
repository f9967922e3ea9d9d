"""The ranges of what every recipe has: a learning rate and dropout."""

from multitask.config import RunConfig
from multitask.errors import UserError
from tune_spaces.core.parameter import Parameter
from tune_spaces.core.settings import configured


def learning_rate(base: RunConfig) -> Parameter:
    """`optimizer.lr`, log-uniform in 1e-6 … 1e-3. Phases with a rate of their own keep it.

    Raises:
        UserError: every phase has one.
    """
    from ray import tune

    if all(phase.lr is not None for phase in base.phases):
        raise UserError(
            f"optimizer.lr has no effect in recipe {base.name}: each phase has its own (phases.0.lr); set them to null"
        )
    return Parameter("optimizer.lr", tune.loguniform(1e-6, 1e-3), mutable=True)


def dropout(base: RunConfig) -> Parameter:
    """`encoder.dropout`, uniform in 0 … 0.5; from 0.05 where the recipe compares dropout masks."""
    from ray import tune

    try:
        configured(base, {"encoder.dropout": 0.0})
        low = 0.0
    except UserError:
        low = 0.05
    return Parameter("encoder.dropout", tune.uniform(low, 0.5), mutable=True)
