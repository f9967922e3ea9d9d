"""The winner of a sweep by a rule: how sure that is, its export, and the training of it again."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from cluster.analysis.configurations import configurations
from cluster.analysis.confirmed import Confirmed
from cluster.analysis.failures import grouped_failures
from cluster.analysis.ranking import Ranked, Ranking, rank
from cluster.analysis.refit import RefitPlan, plan_refits, refitted, run_refit
from cluster.analysis.summary import SweepSummary, describe_configuration, summarise
from cluster.api.show import OnChange, Show, shown
from cluster.api.train_run import train_config
from cluster.storage.lease import Lease
from cluster.storage.lease_record import Launch
from cluster.storage.storage import Storage
from cluster.sweeps.store import SweepStore
from cluster.training.observer import Observer
from multitask.config import Overrides, override_texts
from multitask.errors import UserError

SEEDS = 3
Failures = list[tuple[str, list[str]]]


class NoScoreError(UserError):
    """Trials have failed and none has a score. `failures`: each reason with the runs that failed for it."""

    def __init__(self, name: str, failures: Failures) -> None:
        super().__init__(f"{name}: no trial has a score")
        self.failures = failures

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"error": str(self), "failures": _plain(self.failures)}


class WinnerExport(NamedTuple):
    """The run whose best checkpoint was exported, and to where."""

    run: str
    place: str


@dataclass(frozen=True)
class BestResult:
    """The best configuration of a sweep by the rule of `ranking`; `question` is what was asked."""

    store: SweepStore
    ranking: Ranking
    question: dict[str, Any]

    @property
    def run(self) -> str:
        """The run of its first seed."""
        return self.ranking.winner.configuration.name

    @property
    def sample(self) -> dict[str, Any]:
        """The values of its parameters; empty for the recipe itself."""
        return self.ranking.winner.configuration.sample

    @property
    def score(self) -> float:
        """What the rule says of it."""
        return self.ranking.winner.score

    @property
    def scores(self) -> dict[str, float]:
        """Its dev scores, means over its seeds."""
        return self.ranking.winner.configuration.scores

    @property
    def verdict(self) -> str:
        """In words, whether it is better than the recipe: provisional until `confirm`."""
        return self.summary.verdict.words

    @cached_property
    def summary(self) -> SweepSummary:
        """All that is known: the verdict, what matters, what to try next, refits, failures."""
        return summarise(self.ranking)

    def to_dict(self) -> dict[str, Any]:
        """`summary` as plain JSON values."""
        return self.summary.to_dict()

    @property
    def is_provisional(self) -> bool:
        """Whether nothing but the search speaks for it, whose best is partly its luckiest."""
        return self.summary.verdict.status == "provisional"

    @property
    def confirmed(self) -> Confirmed | None:
        """Differences to the recipe over fresh seeds, with intervals; None before a confirmation has ended."""
        return self.summary.verdict.confirmed

    def confirm(
        self,
        *,
        top: int | None = None,
        seeds: int | None = None,
        show: Show = False,
        on_change: OnChange | None = None,
    ) -> "BestResult":
        """Train the best `top` (3) configurations and the recipe with `seeds` (5) fresh seeds; gives what is known then.

        One that was interrupted goes on; one that has ended and asks the same is not trained again.

        Raises:
            UserError: an option is out of range, another confirmation has begun, or as `cluster.sweep`.
        """
        from cluster.api.confirm import run_confirmation

        run_confirmation(self.store, self.ranking, top, seeds, show, on_change)
        return best_of(self.store, **self.question)

    def export(self, path: str | Path) -> WinnerExport:
        """Export its best checkpoint to the folder `path`; of several seeds and refits, the best one that is kept.

        Raises:
            UserError: none is kept, or `path` holds something else.
        """
        from cluster.analysis.winner_checkpoints import export_winner

        return WinnerExport(*export_winner(self.store, self.ranking, str(path)))

    def refit(
        self,
        overrides: Overrides = (),
        *,
        seeds: int = SEEDS,
        epochs_factor: float = 1.0,
        ray: bool = True,
        show: Show = False,
        observer: Observer | None = None,
    ) -> "RefitResult":
        """Train its config again with `seeds` other seeds, `epochs_factor` times as long, and with `overrides`.

        Raises:
            LeaseHeldError: another process is at the sweep.
            UserError: an option is out of range, the winner's config is gone, or as training does.
        """
        with Lease.acquire(Storage(self.store.location), Launch.here()) as lease:
            store = SweepStore(lease.storage)
            plans = plan_refits(store, self.ranking, seeds, epochs_factor, override_texts(overrides))
            for plan in plans:
                with shown(show, [observer] if observer else []) as watcher:
                    run_refit(store, plan, watcher, lambda config, own: train_config(config, own, time.time(), ray=ray))
        return RefitResult(rank(self.store.read(), **self.question), plans)


@dataclass(frozen=True)
class RefitResult:
    """The winner trained again. `ranking`: of the sweep afterwards."""

    ranking: Ranking
    plans: Sequence[RefitPlan]

    @property
    def refit(self) -> Ranked | None:
        """What the rule says of the refits; None if none has a score."""
        return refitted(self.ranking, self.plans)

    @property
    def failures(self) -> Failures:
        """Each reason with the refits that failed for it."""
        runs = [plan.trial.run for plan in self.plans]
        return grouped_failures(trial for trial in self.ranking.sweep.trials if trial.run in runs)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        ranking, refit = self.ranking, self.refit
        recipe = ranking.judge(ranking.recipe) if ranking.recipe else None
        return {
            "by": ranking.rule.name,
            "refit": describe_configuration(ranking, refit) if refit else None,
            "recipe": describe_configuration(ranking, recipe) if recipe else None,
            "failures": _plain(self.failures),
        }


def best_of(store: SweepStore, **question: Any) -> BestResult:
    """The winner of the sweep in `store` as it stands; for `question` see `cluster.analysis.ranking.rank`.

    Raises:
        NoScoreError: trials have failed and none has a score.
        UserError: as `rank`.
    """
    sweep = store.read()
    failures = grouped_failures(sweep.trials)
    if failures and not configurations(sweep):
        raise NoScoreError(sweep.name, failures)
    return BestResult(store, rank(sweep, **question), question)


def _plain(failures: Failures) -> list[dict[str, Any]]:
    return [{"reason": reason, "runs": runs} for reason, runs in failures]
