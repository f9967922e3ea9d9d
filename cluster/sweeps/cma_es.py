"""CMA-ES over the records of trials."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import cmaes
import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

Point = tuple[float, ...]


class RecordedCmaEs(BaseSampler):
    """Covariance matrix adaptation (Hansen & Ostermeier 2001) of numbers that every trial has, for a study made anew from records.

    Optuna's own keeps its state, pickled, in the study. Here the state follows from the trials that have ended: in their order
    they are cut into generations, and the evolution begins at the middle of all ranges, as Optuna's. It looks at ranks alone,
    so that trials that were stopped early count behind all others, those that got farther first, and broken ones last.
    All else than `ranges` is proposed by `rest`.
    """

    def __init__(self, ranges: Mapping[str, BaseDistribution], rest: BaseSampler, seed: int) -> None:
        self._ranges, self._rest, self._seed = dict(ranges), rest, seed
        self._evolution: cmaes.CMA | None = None

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._ranges

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if self._evolution is None:
            self._evolution = self._replayed(study.get_trials(deepcopy=False))
        point = self._evolution.ask()
        return {name: _value(float(x), own) for x, (name, own) in zip(point, self._ranges.items(), strict=True)}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._rest.sample_independent(study, trial, param_name, param_distribution)

    def _replayed(self, trials: Sequence[FrozenTrial]) -> cmaes.CMA:
        """The evolution after all whole generations; its next points are drawn by the seed."""
        size = len(self._ranges)
        evolution = cmaes.CMA(
            mean=np.full(size, 0.5),
            sigma=1 / 6,
            bounds=np.tile([0.0, 1.0], (size, 1)),
            n_max_resampling=10 * size,
            seed=self._seed,
        )
        solutions = self._solutions([trial for trial in trials if set(self._ranges) <= set(trial.params)])
        count = evolution.population_size
        for start in range(0, len(solutions) - count + 1, count):
            evolution.tell(solutions[start : start + count])
        return evolution

    def _solutions(self, trials: Sequence[FrozenTrial]) -> list[tuple[np.ndarray, float]]:
        """Each point all of whose trials, one for each seed, have ended, with their mean rank."""
        merits = sorted(_merit(trial) for trial in trials if _has_ended(trial))
        ranks: dict[Point, list[float]] = {}
        for trial in trials:
            rank = merits.index(_merit(trial)) if _has_ended(trial) else math.nan
            ranks.setdefault(self._point(trial), []).append(rank)
        means = {point: float(np.mean(own)) for point, own in ranks.items()}
        return [(np.array(point), mean) for point, mean in means.items() if not math.isnan(mean)]

    def _point(self, trial: FrozenTrial) -> Point:
        return tuple(_coordinate(trial.params[name], own) for name, own in self._ranges.items())


def _has_ended(trial: FrozenTrial) -> bool:
    return trial.state in (TrialState.COMPLETE, TrialState.PRUNED)


def _merit(trial: FrozenTrial) -> tuple[float, ...]:
    """The lower the better."""
    if trial.state == TrialState.COMPLETE:
        return (0, -(trial.value or 0.0))
    if (last := trial.last_step) is not None:
        return (1, -last, -trial.intermediate_values[last])
    return (2,)


def _ends(own: Any) -> tuple[float, float]:
    """A range as it is searched: whole numbers have the room of half a number on either side, orders of magnitude are alike."""
    half = 0.5 if isinstance(own.low, int) else 0.0
    low, high = own.low - half, own.high + half
    return (math.log(low), math.log(high)) if own.log else (low, high)


def _coordinate(value: float, own: Any) -> float:
    """Where `value` lies in its range, 0 … 1."""
    low, high = _ends(own)
    return ((math.log(value) if own.log else value) - low) / (high - low)


def _value(coordinate: float, own: Any) -> float | int:
    low, high = _ends(own)
    value = low + coordinate * (high - low)
    value = min(max(math.exp(value) if own.log else value, own.low), own.high)
    return round(value) if isinstance(own.low, int) else value
