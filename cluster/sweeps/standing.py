"""How the configurations of a search stand, each with all of its seeds."""

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from cluster.sweeps.records import Report, Trial


@dataclass(frozen=True)
class Standing:
    """One configuration: its trials, one for each seed, and the best report of those that have one, by their runs."""

    trials: tuple[Trial, ...]
    best: dict[str, Report]

    @property
    def has_ended(self) -> bool:
        """Whether no seed is still to come."""
        return all(trial.has_ended for trial in self.trials)

    @property
    def is_complete(self) -> bool:
        """Whether every seed has a score, and none has failed."""
        return all(trial.run in self.best and trial.status != "failed" for trial in self.trials)

    def mean(self, metric: str) -> float:
        """Mean of a dev score over the seeds that have it; −∞ where none has."""
        known = [score for report in self.best.values() if math.isfinite(score := report.scores.get(metric, math.nan))]
        return statistics.fmean(known) if known else -math.inf


def standings(trials: Iterable[Trial], selection: str, metric: str) -> list[Standing]:
    """The configurations with a score, the highest mean `metric` first; behind them those with a seed that lacks or failed.

    `selection` chooses each trial's checkpoint. Baselines and refits are no part of the search.
    """
    seeds: dict[int, list[Trial]] = {}
    for trial in trials:
        if trial.role in ("recipe", "sample"):
            seeds.setdefault(trial.number, []).append(trial)
    found = []
    for own in seeds.values():
        best = {trial.run: report for trial in own if (report := trial.best(selection)) is not None}
        if best:
            found.append(Standing(tuple(own), best))
    return sorted(found, key=lambda standing: (not standing.is_complete, -standing.mean(metric)))
