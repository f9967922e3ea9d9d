"""Which configuration comes next: a pure function of the seed, its number and what is known of those before it."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from cluster.sweeps.optuna_samplers import OPTUNA_SAMPLERS, with_failures_as_worst
from cluster.sweeps.plan import plain_sample
from cluster.sweeps.records import Options, Trial
from cluster.sweeps.told import told
from tune_spaces.core.distributions import told_sample

if TYPE_CHECKING:
    import optuna

    from tune_spaces import Space


# So often a sample is drawn until it is a new one.
_DRAWS = 200


class Sampler(Protocol):
    """Proposes samples; it keeps nothing, so that a sweep that goes on proposes what it would have proposed."""

    def sample(self, number: int, trials: Sequence[Trial]) -> dict[str, Any] | None:
        """The sample of configuration `number`, given all trials so far; None where there is none left."""


class RandomSampler:
    """Each configuration drawn by itself, until it is a new one."""

    def __init__(self, space: "Space", options: Options) -> None:
        self._space, self._seed = space, options.seed

    def sample(self, number: int, trials: Sequence[Trial]) -> dict[str, Any] | None:
        generator = np.random.default_rng([self._seed, number])
        return _first_new((self._space.draw(generator) for _ in range(_DRAWS)), trials)


class GridSampler:
    """Every combination of the space's values once, in order, but for those that were tried otherwise."""

    def __init__(self, space: "Space", options: Options) -> None:
        self._samples = grid_samples(space)

    def sample(self, number: int, trials: Sequence[Trial]) -> dict[str, Any] | None:
        return _first_new(self._samples, trials)


def grid_samples(space: "Space") -> list[dict[str, Any]]:
    """The samples of a grid search, without the recipe and the points that are tried first anyway.

    Raises:
        UserError: the space is no grid.
    """
    known = [space.sample_of(space.base), *space.first]
    return [sample for sample in space.grid() if sample not in known]


def _first_new(samples: Iterable[dict[str, Any]], trials: Sequence[Trial]) -> dict[str, Any] | None:
    """The first sample that no trial has: the same one again would tell nothing. None where there is none."""
    tried = [trial.sample for trial in trials if trial.role in ("recipe", "sample")]
    return next((sample for sample in samples if plain_sample(sample) not in tried), None)


class OptunaSampler:
    """Optuna's samplers (`optuna_samplers`) by define-by-run, so that a parameter is searched only where its choice is active.

    The study is made anew for each proposal from the trials' records.
    """

    def __init__(self, space: "Space", options: Options) -> None:
        self._space, self._options = space, options
        self._parameters = space.describe()["parameters"]

    def sample(self, number: int, trials: Sequence[Trial]) -> dict[str, Any] | None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = OPTUNA_SAMPLERS[self._options.search](self._space, self._options, number)
            study = optuna.create_study(directions=["maximize"] * len(self._options.metrics), sampler=sampler)
            known = [frozen for trial in trials if (frozen := self._frozen_trial(trial)) is not None]
            study.add_trials(with_failures_as_worst(known) if self._options.search == "gp" else known)
            return _first_new((self._space.suggest(study.ask()) for _ in range(_DRAWS)), trials)

    def _frozen_trial(self, trial: Trial) -> "optuna.trial.FrozenTrial | None":
        import optuna

        if trial.role not in ("recipe", "sample") or not trial.sample:
            return None
        best = trial.best(self._options.selection)
        # A population's trial may have been best with other settings than its first.
        sample = best.sample if best is not None and best.run else trial.sample
        return optuna.trial.create_trial(**told_sample(sample, self._parameters), **told(trial, best, self._options))


SAMPLERS: dict[str, Callable[["Space", Options], Sampler]] = {
    "random": RandomSampler,
    "grid": GridSampler,
    **dict.fromkeys(OPTUNA_SAMPLERS, OptunaSampler),
}


def create_sampler(space: "Space", options: Options) -> Sampler:
    """The sampler of `options.search`."""
    return SAMPLERS[options.search](space, options)
