"""Which configuration comes next: a pure function of the seed, its number and what is known of those before it."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from cluster.sweeps.plan import plain_sample
from cluster.sweeps.records import Options, Trial
from cluster.sweeps.told import told

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
    """Every combination of the space's values once, in order, after the recipe and the points to try first."""

    def __init__(self, space: "Space", options: Options) -> None:
        self._samples = grid_samples(space)
        self._first = 1 + len(space.first)

    def sample(self, number: int, trials: Sequence[Trial]) -> dict[str, Any] | None:
        index = number - self._first
        return self._samples[index] if index < len(self._samples) else None


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
    """Optuna's samplers by define-by-run, so that a parameter is searched only where its choice is active.

    `optuna` is the tree-structured Parzen estimator (Bergstra et al. 2011; with several metrics Ozaki et al. 2022), `nsga2`
    the evolutionary search of Deb et al. 2002. The study is made anew for each proposal from the trials' records.
    """

    def __init__(self, space: "Space", options: Options) -> None:
        self._space, self._options = space, options

    def sample(self, number: int, trials: Sequence[Trial]) -> dict[str, Any] | None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study = optuna.create_study(
                directions=["maximize"] * len(self._options.metrics), sampler=self._optuna_sampler(number)
            )
            study.add_trials([frozen for trial in trials if (frozen := self._frozen_trial(trial)) is not None])
            return _first_new((self._space.suggest(study.ask()) for _ in range(_DRAWS)), trials)

    def _optuna_sampler(self, number: int) -> "optuna.samplers.BaseSampler":
        import optuna

        seed = int(np.random.default_rng([self._options.seed, number]).integers(2**31))
        if self._options.search == "nsga2":
            from cluster.sweeps.nsga2 import RecordedNSGAII

            return RecordedNSGAII(population_size=max(4, self._options.trials // 4), seed=seed)
        startup = min(10, max(3, self._options.trials // 4))
        return optuna.samplers.TPESampler(
            n_startup_trials=startup, multivariate=True, group=True, constant_liar=True, seed=seed
        )

    def _frozen_trial(self, trial: Trial) -> "optuna.trial.FrozenTrial | None":
        import optuna

        if trial.role not in ("recipe", "sample") or not trial.sample:
            return None
        best = trial.best(self._options.selection)
        # A population's trial may have been best with other settings than its first.
        sample = best.sample if best is not None and best.run else trial.sample
        return optuna.trial.create_trial(
            params=sample, distributions=self._space.distributions(sample), **told(trial, best, self._options)
        )


SAMPLERS: dict[str, Callable[["Space", Options], Sampler]] = {
    "random": RandomSampler,
    "grid": GridSampler,
    "optuna": OptunaSampler,
    "nsga2": OptunaSampler,
}


def create_sampler(space: "Space", options: Options) -> Sampler:
    """The sampler of `options.search`."""
    return SAMPLERS[options.search](space, options)
