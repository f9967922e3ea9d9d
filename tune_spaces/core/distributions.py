"""A parameter as Optuna has it, from its description alone (`Parameter.describe`): the one place that builds Optuna's ranges.

Optuna takes 1, 1.0 and true for the same choice. Where a parameter has several of them, its choices are told to Optuna as JSON
texts; everywhere else as they are, for people to read in a dashboard.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import optuna

Description = Mapping[str, Any]


def distribution(about: Description) -> "optuna.distributions.BaseDistribution":
    """The range of a parameter."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if about["kind"] == "choice":
        return CategoricalDistribution([_told(value, about) for value in about["values"]])
    kind = IntDistribution if about["kind"] == "int" else FloatDistribution
    return kind(about["low"], about["high"], log=about["log"])


def told_sample(sample: Mapping[str, Any], parameters: Mapping[str, Description]) -> dict[str, Any]:
    """`params` and `distributions` of the Optuna trial that tried `sample`."""
    known = {name: about for name, about in parameters.items() if name in sample}
    params = {name: _told(sample[name], about) for name, about in known.items()}
    return {"params": params, "distributions": {name: distribution(about) for name, about in known.items()}}


def untold_sample(params: Mapping[str, Any], parameters: Mapping[str, Description]) -> dict[str, Any]:
    """The sample of an Optuna trial with these `params`; what is no parameter is left as it is."""
    return {name: _untold(value, parameters[name]) if name in parameters else value for name, value in params.items()}


def suggested(trial: "optuna.trial.BaseTrial", name: str, about: Description) -> Any:
    """The value that Optuna proposes for the parameter called `name`."""
    whole: Any = distribution(about)
    if about["kind"] == "choice":
        return _untold(trial.suggest_categorical(name, whole.choices), about)
    ask = trial.suggest_int if about["kind"] == "int" else trial.suggest_float
    return ask(name, whole.low, whole.high, log=whole.log)


def _told(value: Any, about: Description) -> Any:
    return json.dumps(value) if _is_ambiguous(about) else value


def _untold(value: Any, about: Description) -> Any:
    return json.loads(value) if _is_ambiguous(about) else value


def _is_ambiguous(about: Description) -> bool:
    return about["kind"] == "choice" and len(set(about["values"])) < len(about["values"])
