"""Optuna's samplers by name; each is a function of the seed, the configuration's number and the trials that it is told of."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from cluster.sweeps.records import Options
from multitask.errors import UserError
from tune_spaces.core.distributions import distribution

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

    from tune_spaces import Space


def check_sampler(options: Options, space: "Space") -> None:
    """Raises:
    UserError: the sampler cannot search this space for these scores, or its package is not installed.
    """
    several = len(options.metrics) > 1
    if options.search == "nsga2" and not several:
        raise UserError("--search nsga2 searches a Pareto front: give --metric twice or more, or use --search tpe")
    if options.search != "cmaes":
        return
    if several:
        raise UserError("--search cmaes searches for one score: give --metric once, or use --search tpe, gp or nsga2")
    if len(numbers := always_numbers(space)) < 2:
        raise UserError(
            "--search cmaes needs two numbers or more that every configuration has, "
            f"{space.spec} has {', '.join(numbers) or 'none'}; use --search tpe or gp"
        )
    if find_spec("cmaes") is None:
        raise UserError("--search cmaes needs the package cmaes: pip install 'concord-mtl[cmaes]'")


def always_numbers(space: "Space") -> dict[str, "BaseDistribution"]:
    """The ranges of those numbers that are searched whatever is chosen elsewhere."""
    return {
        name: distribution(own.describe())
        for name, own in space.parameters.items()
        if own.kind != "choice" and own.low < own.high and not set(own.when) & set(space.parameters)
    }


def _tpe(space: "Space", options: Options, number: int) -> "BaseSampler":
    """The tree-structured Parzen estimator (Bergstra et al. 2011; with several metrics Ozaki et al. 2022)."""
    from optuna.samplers import TPESampler

    return TPESampler(
        n_startup_trials=_startup(options),
        multivariate=True,
        group=True,
        constant_liar=True,
        seed=_seed(options, number),
    )


def _gp(space: "Space", options: Options, number: int) -> "BaseSampler":
    """A Gaussian process with expected improvement; what not every configuration has is left to the Parzen estimator."""
    from optuna.samplers import GPSampler

    return GPSampler(
        n_startup_trials=_startup(options),
        seed=_seed(options, number),
        independent_sampler=_tpe(space, options, number),
        warn_independent_sampling=False,
    )


def _cmaes(space: "Space", options: Options, number: int) -> "BaseSampler":
    from cluster.sweeps.cma_es import RecordedCmaEs

    return RecordedCmaEs(always_numbers(space), _tpe(space, options, number), _seed(options, number))


def _qmc(space: "Space", options: Options, number: int) -> "BaseSampler":
    from cluster.sweeps.sobol import NumberedSobol

    ranges = {name: distribution(own.describe()) for name, own in space.parameters.items()}
    return NumberedSobol(ranges, number, options.seed)


def _nsga2(space: "Space", options: Options, number: int) -> "BaseSampler":
    from cluster.sweeps.nsga2 import RecordedNSGAII

    return RecordedNSGAII(population_size=max(4, options.trials // 4), seed=_seed(options, number))


def _startup(options: Options) -> int:
    """Configurations at random before there is something to learn from."""
    return min(10, max(3, options.trials // 4))


def _seed(options: Options, number: int) -> int:
    return int(np.random.default_rng([options.seed, number]).integers(2**31))


OPTUNA_SAMPLERS: dict[str, Callable[["Space", Options, int], "BaseSampler"]] = {
    "tpe": _tpe,
    "gp": _gp,
    "cmaes": _cmaes,
    "qmc": _qmc,
    "nsga2": _nsga2,
}
# Those whose proposals depend on the results so far.
LEARNING = ("tpe", "gp", "cmaes", "nsga2")


def with_failures_as_worst(trials: "Sequence[FrozenTrial]") -> "list[FrozenTrial]":
    """What the Gaussian process is told: it learns from complete trials alone, so what broke is one with the worst score known."""
    from optuna.trial import TrialState, create_trial

    known = [trial.value for trial in trials if trial.state == TrialState.COMPLETE and trial.value is not None]
    broken = [trial.state == TrialState.PRUNED and not trial.intermediate_values for trial in trials]
    return [
        create_trial(params=trial.params, distributions=trial.distributions, value=min(known))
        if bad and known
        else trial
        for trial, bad in zip(trials, broken, strict=True)
    ]
