"""NSGA-II over the records of trials."""

from collections.abc import Sequence

from optuna.samplers import NSGAIISampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState


class RecordedNSGAII(NSGAIISampler):
    """Optuna's NSGA-II (Deb et al. 2002) for a study that is made anew from records.

    Optuna notes each trial's generation when it is asked for, which no record holds. Here the completed trials, in order, are
    cut into populations: a new trial descends from the last whole one and its ancestors.
    """

    def get_trial_generation(self, study: Study, trial: FrozenTrial) -> int:
        """The generation of a trial that is asked for."""
        return len(_completed(study)) // self._size

    def get_population(self, study: Study, generation: int) -> list[FrozenTrial]:
        """The completed trials of a generation."""
        start = generation * self._size
        return list(_completed(study)[start : start + self._size])

    @property
    def _size(self) -> int:
        size = self.population_size
        assert size is not None, "NSGAIISampler always has one"
        return size


def _completed(study: Study) -> Sequence[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
