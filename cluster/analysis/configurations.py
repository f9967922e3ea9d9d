"""The configurations of a sweep: the trials that differ in their seed alone, taken together."""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from cluster.sweeps.records import Report, Role, Sweep, Trial

SEARCHED: tuple[Role, ...] = ("recipe", "sample")


@dataclass(frozen=True)
class Values:
    """The same thing measured with several seeds. `spread` is the sample standard deviation, None for a single seed."""

    each: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over the seeds; not a number where there is none."""
        return statistics.fmean(self.each) if self.each else math.nan

    @property
    def spread(self) -> float | None:
        """Standard deviation with n − 1."""
        return statistics.stdev(self.each) if len(self.each) > 1 else None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        low, high = (min(self.each), max(self.each)) if self.each else (None, None)
        return {"mean": self.mean, "spread": self.spread, "low": low, "high": high, "seeds": len(self.each)}


@dataclass(frozen=True)
class ScoredTrial:
    """A trial that reported a score. `best` is the report of the checkpoint that is kept.

    `sample` is what it went by then, in its run folder `run`: in a population both change on the way.
    """

    trial: Trial
    best: Report
    sample: dict[str, Any]
    run: str


@dataclass(frozen=True)
class Configuration:
    """Attempts at one configuration, one for each seed; `planned` counts those without a score, too."""

    number: int
    role: Role
    planned: int
    scored_trials: tuple[ScoredTrial, ...]

    @property
    def name(self) -> str:
        """The run of its first seed."""
        return self.scored_trials[0].trial.run

    @property
    def sample(self) -> dict[str, Any]:
        """The values of its active parameters."""
        return self.scored_trials[0].sample

    @cached_property
    def scores(self) -> dict[str, float]:
        """Name of each dev score to its mean over the seeds."""
        names = dict.fromkeys(name for scored in self.scored_trials for name in scored.best.scores)
        return {name: self.reported(name).mean for name in names}

    def reported(self, name: str) -> Values:
        """Each seed's dev score `name`, where it is finite."""
        return self.values(lambda scores: scores.get(name, math.nan))

    def values(self, measure: Callable[[Mapping[str, float]], float]) -> Values:
        """What `measure` makes of each seed's scores, where it is finite."""
        found = (measure(scored.best.scores) for scored in self.scored_trials)
        return Values(tuple(value for value in found if math.isfinite(value)))

    @property
    def is_complete(self) -> bool:
        """Whether every seed has a score, and none has failed."""
        return len(self.scored_trials) == self.planned and all(a.trial.status != "failed" for a in self.scored_trials)

    @property
    def mark(self) -> str:
        """What has to be known of how far it was trained: empty if every seed went to its end."""
        words = {"stopped": "stopped early", "failed": "failed later", "running": "unfinished", "waiting": "unfinished"}
        found = dict.fromkeys(words[a.trial.status] for a in self.scored_trials if a.trial.status in words)
        if len(self.scored_trials) < self.planned:
            found[f"{len(self.scored_trials)} of {self.planned} seeds"] = None
        return ", ".join(found)


def configurations(sweep: Sweep, roles: Iterable[Role] = SEARCHED) -> list[Configuration]:
    """Those of the trials with one of `roles` that have a finite score of `options.selection`, by number.

    A trial takes part with its best report, also where it was stopped early, is still running or failed later.
    """
    groups: dict[tuple[Role, int], list[Trial]] = {}
    for trial in sweep.trials:
        if trial.role in roles:
            groups.setdefault((trial.role, trial.number), []).append(trial)
    found = []
    for (role, number), trials in groups.items():
        scored = tuple(a for trial in trials if (a := scored_trial(trial, sweep.options.selection)) is not None)
        if scored:
            found.append(Configuration(number, role, len(trials), scored))
    return sorted(found, key=lambda configuration: configuration.number)


def scored_trial(trial: Trial, selection: str) -> ScoredTrial | None:
    """The trial with its best report; None if it has none."""
    best = trial.best(selection)
    if best is None:
        return None
    return ScoredTrial(trial, best, best.sample if best.run else trial.sample, best.run or trial.run)
