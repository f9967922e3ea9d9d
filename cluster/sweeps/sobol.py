"""Quasi-random search: a sequence that fills the space more evenly than chance."""

import itertools
from collections.abc import Mapping

from optuna.distributions import BaseDistribution
from optuna.samplers import QMCSampler
from optuna.study import Study
from optuna.trial import FrozenTrial


class NumberedSobol(QMCSampler):
    """Optuna's scrambled Sobol sequence (Owen 1998) over all parameters, whose next point is number `number`.

    Optuna counts in the study how many it has given, and takes the parameters of the study's first trial; no record holds
    the one, and not every trial has all parameters. What is not active in a configuration leaves its coordinate unused.
    """

    def __init__(self, ranges: Mapping[str, BaseDistribution], number: int, seed: int) -> None:
        super().__init__(scramble=True, seed=seed, warn_independent_sampling=False)
        self._ranges, self._numbers = dict(ranges), itertools.count(number)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._ranges

    def _find_sample_id(self, study: Study, search_space: dict[str, BaseDistribution]) -> int:
        return next(self._numbers)
