"""The parameters that shipped spaces are made of, as a recipe allows them.

Learning rate and dropout, of encoder and heads, which every recipe has, and what sampling strategies and combinations declare (`SEARCH` in their configs).
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from multitask.config import RunConfig
from multitask.config.search import Between, OneOf, PerTask, Range, TasksInStep, Whole
from multitask.errors import UserError
from tune_spaces.core.methods import (
    Kind,
    compares_tasks,
    first_values,
    parameter_name,
    ranges_of,
    searched_methods,
    shared_phases,
    shared_tasks,
    step_bounds,
    step_field,
    step_parameter,
)
from tune_spaces.core.parameter import Parameter
from tune_spaces.core.settings import configured

if TYPE_CHECKING:
    from ray.tune.search.sample import Domain

Parameters = dict[str, Parameter]


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


def dropout(base: RunConfig) -> Parameters:
    """`encoder.dropout`, and `head.dropout` where a head follows it: uniform in 0 … 0.5.

    The encoder's from 0.05 where the recipe compares dropout masks.
    """
    from ray import tune

    low = 0.0 if _trains(base, {"encoder.dropout": 0.0, "head.dropout": 0.0}) else 0.05
    parameters = {"encoder.dropout": Parameter("encoder.dropout", tune.uniform(low, 0.5), mutable=True)}
    if any(own.head_dropout(0.0) != own.head_dropout(0.5) for own in base.tasks.values()):
        parameters["head.dropout"] = Parameter("head.dropout", tune.uniform(0.0, 0.5), mutable=True)
    return parameters


def usable_methods(base: RunConfig) -> tuple[list[str], list[str]]:
    """Sampling strategies and combinations of which each can be trained beside some of the others."""
    samplings, combinations = searched_methods("sampling"), searched_methods("combination")
    pairs = [
        (sampling, combination)
        for sampling in samplings
        for combination in combinations
        if _trains(base, first_values("sampling", sampling, base) | first_values("combination", combination, base))
    ]
    firsts, seconds = {sampling for sampling, _ in pairs}, {combination for _, combination in pairs}
    return [name for name in samplings if name in firsts], [name for name in combinations if name in seconds]


def usable_alone(kind: Kind, base: RunConfig) -> list[str]:
    """The methods that can be trained with the rest of the recipe as it is."""
    return [name for name in searched_methods(kind) if _trains(base, first_values(kind, name, base))]


def sampling_parameters(base: RunConfig, samplings: Sequence[str], combinations: Sequence[str]) -> Parameters:
    """`sampling.name`, the parameters of each strategy, and how many tasks a step trains.

    `combinations`: those that the space searches besides, or the recipe's own alone.
    """
    parameters = _choice("sampling", samplings, f"phases.{shared_phases(base)[0]}.sampling.name")
    for several in (False, True):
        for draws in (False, True):
            parameters |= _step(base, samplings, combinations, draws, several)
    return parameters | _methods("sampling", samplings, shared_tasks(base))


def combination_parameters(base: RunConfig, combinations: Sequence[str]) -> Parameters:
    """`combination.name` and the parameters of each combination, weights of tasks that are trained with others."""
    return _choice("combination", combinations, None) | _methods("combination", combinations, shared_tasks(base))


def own_numbers(base: RunConfig) -> Parameters:
    """The numbers of the recipe's own strategy and combination that may change in the middle of a run."""
    tasks = shared_tasks(base)
    own = _methods("combination", [base.combination.name], tasks)
    for index in shared_phases(base)[:1]:
        own |= _methods("sampling", [base.phases[index].sampling.name], tasks)
    return {name: parameter for name, parameter in own.items() if parameter.mutable}


def check_several_tasks(base: RunConfig, searched: str) -> None:
    """Raises:
    UserError: no phase of the recipe trains several tasks.
    """
    if not shared_phases(base):
        raise UserError(
            f"space {searched}: every phase of recipe {base.name} trains one task, so there is no {searched} to search"
        )


def _trains(base: RunConfig, values: Mapping[str, Any]) -> bool:
    try:
        configured(base, values)
    except UserError:
        return False
    return True


def _choice(kind: Kind, names: Sequence[str], key: str | None) -> Parameters:
    from ray import tune

    name = f"{kind}.name"
    return {name: Parameter(name, tune.choice(list(names)), key=key)} if len(names) > 1 else {}


def _step(
    base: RunConfig, samplings: Sequence[str], combinations: Sequence[str], draws: bool, several: bool
) -> Parameters:
    from ray import tune

    low, high = step_bounds(base, draws, several)
    own = tuple(name for name in samplings if (step := step_field(name)) and step[1] is draws)
    others = tuple(name for name in combinations if compares_tasks(name) is several)
    if low == high or not own or not others:
        return {}
    when = {"sampling.name": own} | ({"combination.name": others} if len(combinations) > 1 else {})
    name = step_parameter(draws, several)
    return {name: Parameter(name, tune.randint(low, high + 1), when)}


def _methods(kind: Kind, names: Sequence[str], tasks: Sequence[str]) -> Parameters:
    parameters: Parameters = {}
    for name in names:
        when = {f"{kind}.name": (name,)}
        for field, declared in ranges_of(kind, name).items():
            if isinstance(declared, TasksInStep) or (isinstance(declared, OneOf) and len(declared.values) == 1):
                continue
            mutable = isinstance(declared, Between | PerTask)
            for task in tasks if isinstance(declared, PerTask) else [None]:
                full = parameter_name(kind, name, field, task)
                parameters[full] = Parameter(full, _domain(declared), when, mutable=mutable)
    return parameters


def _domain(declared: Range) -> "Domain":
    from ray import tune

    if isinstance(declared, OneOf):
        return tune.choice(list(declared.values))
    if isinstance(declared, Whole):
        return (tune.lograndint if declared.log else tune.randint)(declared.low, declared.high + 1)
    assert not isinstance(declared, TasksInStep)
    return (tune.loguniform if declared.log else tune.uniform)(declared.low, declared.high)
