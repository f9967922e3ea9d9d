"""A sweep's records as an Optuna study, from the space's description alone."""

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import optuna

Parameters = Mapping[str, Mapping[str, Any]]


def distribution(about: Mapping[str, Any]) -> "optuna.distributions.BaseDistribution":
    """Optuna's distribution of a parameter that `tune_spaces.Space.describe` described; choices become JSON texts."""
    from optuna import distributions as d

    if about["kind"] == "choice":
        return d.CategoricalDistribution([_text(value) for value in about["values"]])
    kind = d.IntDistribution if about["kind"] == "int" else d.FloatDistribution
    return kind(about["low"], about["high"], log=about["log"])


def frozen_trial(sample: Mapping[str, Any], score: float, parameters: Parameters) -> "optuna.trial.FrozenTrial | None":
    """The finished trial of `sample`; None where a value lies outside the space, as the recipe's own may."""
    import optuna

    known = {name: about for name, about in parameters.items() if name in sample}
    choices = {name: distribution(about) for name, about in known.items()}
    values = {name: _text(sample[name]) if about["kind"] == "choice" else sample[name] for name, about in known.items()}
    try:
        return optuna.trial.create_trial(params=values, distributions=choices, values=[score])
    except ValueError:
        return None


def suggest(trial: "optuna.trial.Trial", parameters: Parameters) -> dict[str, Any]:
    """A sample: every parameter whose conditions hold, those that others depend on first."""
    sample: dict[str, Any] = {}
    waiting = dict(parameters)
    while ready := [name for name, about in waiting.items() if not set(about["when"]) & set(waiting)]:
        for name in ready:
            about = waiting.pop(name)
            if all(sample.get(other) in values for other, values in about["when"].items()):
                sample[name] = _suggested(trial, name, about)
    return sample


def _suggested(trial: "optuna.trial.Trial", name: str, about: Mapping[str, Any]) -> Any:
    if about["kind"] == "choice":
        return json.loads(trial.suggest_categorical(name, [_text(value) for value in about["values"]]))
    ask = trial.suggest_int if about["kind"] == "int" else trial.suggest_float
    return ask(name, about["low"], about["high"], log=about["log"])


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Without Optuna's log lines and its warnings about what is experimental."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(before)


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
