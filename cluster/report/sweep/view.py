"""A sweep as its page sees it: the trials of the search that have a score, best first."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cluster.analysis.baselines import task_keys
from cluster.analysis.configurations import SEARCHED, ScoredTrial, configurations
from cluster.analysis.ranking import Ranking, rank
from cluster.sweeps.records import Sweep, Trial
from cluster.sweeps.sweep_place import recipe_config
from multitask.config import RunConfig

STATUS = {
    "finished": "finished",
    "stopped": "stopped early",
    "failed": "failed",
    "running": "running",
    "waiting": "waiting",
}


@dataclass(frozen=True)
class Point(ScoredTrial):
    """A trial with a score."""

    def score(self, key: str) -> float:
        """The kept checkpoint's dev score called `key`; not a number where there is none."""
        return self.best.scores.get(key, math.nan)


@dataclass(frozen=True)
class View:
    """`recipe` is the config that the sweep started from.

    `points` are the trials of the search that have a score, best first; `ranking` orders their configurations, None where
    there is no score.
    """

    sweep: Sweep
    recipe: RunConfig
    points: tuple[Point, ...]
    ranking: Ranking | None

    @property
    def selection(self) -> str:
        """The score that the trials are sorted by."""
        return self.sweep.options.selection

    @property
    def parameters(self) -> dict[str, dict[str, Any]]:
        """Name to description of what was searched."""
        found: dict[str, dict[str, Any]] = self.sweep.space["parameters"]
        return found

    @property
    def task_keys(self) -> dict[str, str]:
        """Task to the dev score that chooses its checkpoints."""
        return task_keys(self.recipe)

    @property
    def score_keys(self) -> list[str]:
        """The dev scores that are shown: what the trials are sorted by, then each task's."""
        return list(dict.fromkeys([self.selection, *self.task_keys.values()]))

    @property
    def winner(self) -> Point | None:
        """The best trial of the best configuration."""
        if self.ranking is None:
            return None
        number = self.ranking.winner.configuration.number
        return next(point for point in self.points if point.trial.number == number)

    @property
    def searched(self) -> tuple[Trial, ...]:
        """The trials of the search itself: neither baselines nor refits."""
        return tuple(trial for trial in self.sweep.trials if trial.role in SEARCHED)


def view_sweep(sweep: Sweep) -> View:
    """What is shown of `sweep`.

    Raises:
        UserError: the recipe that it holds is not one that this version can read.
    """
    key = sweep.options.selection
    scored_trials = [scored for group in configurations(sweep) for scored in group.scored_trials]
    points = [Point(**vars(own)) for own in scored_trials]
    points.sort(key=lambda point: -point.score(key))
    recipe = recipe_config(sweep)
    return View(sweep, recipe, tuple(points), rank(sweep, key) if points else None)


def score_name(key: str) -> str:
    """`dev/sst/accuracy` as a reader says it."""
    parts = key.removeprefix("dev/").split("/")
    return "mean dev score" if parts == ["mean"] else " ".join(parts).replace("_", " ")


def listed(names: Sequence[str]) -> str:
    """`a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
