"""What a confirmation tells: differences to the recipe with intervals, over seeds and over rows."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cluster.analysis.configurations import ScoredTrial, Values, scored_trial
from cluster.analysis.confirmation_plan import has_ended
from cluster.analysis.dunnett import differences_to_control
from cluster.analysis.ranking import Ranking
from cluster.analysis.row_errors import row_half_widths
from cluster.sweeps.confirmation import Confirmation, Finalist
from cluster.sweeps.records import Trial

# How often a sweep's confirmations may call something better that is not. The first may spend half of it, the next a
# quarter, and so on, and intervals have two sides.
ALPHA = 0.05
FEWEST_SEEDS = 2


@dataclass(frozen=True)
class Difference:
    """A finalist less the recipe, over the fresh seeds.

    `score`: the finalist's own. `low` … `high`: over seeds, together with those of the other finalists. `rows_low` …
    `rows_high`: over dev rows, None where they are not known. `checkpoints`: its run with the highest score.
    """

    finalist: Finalist
    name: str
    score: Values
    mean: float
    low: float
    high: float
    rows_low: float | None
    rows_high: float | None

    @property
    def is_better_over_seeds(self) -> bool:
        """Whether other seeds on these dev rows would say so, too."""
        return self.low > 0

    @property
    def is_better(self) -> bool:
        """Whether it is better than the recipe: over seeds, and over rows where that is known."""
        return self.is_better_over_seeds and (self.rows_low is None or self.rows_low > 0)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        values = asdict(self) | {"score": self.score.to_dict(), "better": self.is_better}
        values["parameters"] = values.pop("finalist")["sample"]
        return {"number": self.finalist.number, **values}


@dataclass(frozen=True)
class Confirmed:
    """A confirmation that has ended. `differences`: the highest first. `level`: of the intervals. `recipe`: its scores.

    `seeds`: those on which all are compared. `failed`: runs without a score; whose they are has no difference.
    `rows`: why there is no interval over rows, None where there is one.
    """

    confirmation: Confirmation
    level: float
    seeds: tuple[int, ...]
    recipe: Values
    differences: tuple[Difference, ...]
    failed: tuple[str, ...]
    rows: str | None

    @property
    def leader(self) -> Finalist:
        """The one with the highest mean over the fresh seeds, the recipe among them."""
        first = self.differences[0] if self.differences else None
        return first.finalist if first is not None and first.mean > 0 else self.confirmation.recipe

    @property
    def better(self) -> tuple[Difference, ...]:
        """Those that are better than the recipe."""
        return tuple(own for own in self.differences if own.is_better)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "place": self.confirmation.place,
            "level": self.level,
            "seeds": list(self.seeds),
            "finalists": [one.number for one in self.confirmation.finalists],
            "leader": self.leader.number,
            "recipe": self.recipe.to_dict(),
            "differences": [own.to_dict() for own in self.differences],
            "failed": list(self.failed),
            "rows": self.rows,
            "test": self.confirmation.test,
        }


def confirmation_of(ranking: Ranking) -> Confirmation | None:
    """The sweep's last confirmation by what `ranking` asks; None where there is none."""
    same = [own for own in ranking.sweep.confirmations if own.question == ranking.question]
    return same[-1] if same else None


def judge_confirmation(ranking: Ranking, confirmation: Confirmation) -> Confirmed | None:
    """What `confirmation` tells by the rule of `ranking`; None before all its trials have ended: a look on the way would count."""
    sweep = ranking.sweep
    if not has_ended(sweep, confirmation):
        return None
    level = 1 - ALPHA / 2 ** (confirmation.place - 1)
    trials = {trial.run: trial for trial in sweep.trials if trial.role == "confirm"}
    grid = {
        one.number: {
            seed: _scored(ranking, trials[confirmation.run(sweep.name, one.number, seed)])
            for seed in confirmation.seeds
        }
        for one in confirmation.everything
    }
    failed = tuple(
        confirmation.run(sweep.name, number, seed)
        for number, row in grid.items()
        for seed, own in row.items()
        if own is None
    )
    seeds = tuple(seed for seed, own in grid[0].items() if own is not None)
    compared = [one for one in confirmation.everything if all(grid[one.number][seed] is not None for seed in seeds)]
    cells = [[own for seed in seeds if (own := grid[one.number][seed]) is not None] for one in compared]
    recipe = Values(tuple(_score(ranking, own) for own in cells[0]))
    if len(compared) < 2 or len(seeds) < FEWEST_SEEDS:
        return Confirmed(confirmation, level, seeds, recipe, (), failed, None)
    differences, rows = _differences(ranking, confirmation, compared, cells, level)
    return Confirmed(confirmation, level, seeds, recipe, differences, failed, rows)


def _scored(ranking: Ranking, trial: Trial) -> ScoredTrial | None:
    """A trial that was trained to its end and has a score by the rule; others take part in no comparison."""
    scored = scored_trial(trial, ranking.sweep.options.selection) if trial.status == "finished" else None
    return scored if scored is not None and math.isfinite(_score(ranking, scored)) else None


def _score(ranking: Ranking, scored: ScoredTrial) -> float:
    return ranking.rule.score(scored.best.scores)


def _differences(
    ranking: Ranking,
    confirmation: Confirmation,
    compared: Sequence[Finalist],
    cells: Sequence[Sequence[ScoredTrial]],
    level: float,
) -> tuple[tuple[Difference, ...], str | None]:
    """Differences of `compared` to the first of them, and why none is known over rows."""
    scores = np.array([[_score(ranking, own) for own in row] for row in cells])
    over_seeds = differences_to_control(scores, level, len(confirmation.finalists))
    halves, reason = row_half_widths(ranking, cells, level, confirmation.searched)
    found = []
    for place, one in enumerate(compared[1:]):
        mean = float(over_seeds.mean[place])
        half = None if halves is None else float(halves[place])
        found.append(
            Difference(
                finalist=one,
                name=f"{ranking.sweep.name}-{one.number:03d}",
                score=Values(tuple(map(float, scores[place + 1]))),
                mean=mean,
                low=float(over_seeds.low[place]),
                high=float(over_seeds.high[place]),
                rows_low=None if half is None else mean - half,
                rows_high=None if half is None else mean + half,
            )
        )
    return tuple(sorted(found, key=lambda own: -own.mean)), reason
