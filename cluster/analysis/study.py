"""A sweep's records as an Optuna study, from the space's description alone."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tune_spaces.core.distributions import suggested, told_sample

if TYPE_CHECKING:
    import optuna

Parameters = Mapping[str, Mapping[str, Any]]


def frozen_trial(sample: Mapping[str, Any], score: float, parameters: Parameters) -> "optuna.trial.FrozenTrial | None":
    """The finished trial of `sample`; None where a value lies outside the space, as the recipe's own may."""
    import optuna

    try:
        return optuna.trial.create_trial(**told_sample(sample, parameters), values=[score])
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
                sample[name] = suggested(trial, name, about)
    return sample


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
