"""Whether the winner of a search is better than the recipe, or the luckiest of many."""

from dataclasses import dataclass
from typing import Any, Literal

from cluster.analysis.commands import best_command
from cluster.analysis.confirmation_plan import usual_numbers
from cluster.analysis.confirmed import Confirmed, Difference, confirmation_of, judge_confirmation
from cluster.analysis.ranking import Ranking
from cluster.sweeps.confirmation import Confirmation

Status = Literal["provisional", "better", "not shown"]


@dataclass(frozen=True)
class Verdict:
    """`gap`: the winner's score less the runner-up's in the search, None where there is no other configuration.

    `status`: `provisional` until the winner was confirmed; then whether one of the finalists is `better` than the recipe or
    that is `not shown`. `words` says it. `command`: what confirms it, None where nothing is left to do. `confirmed`: the last
    confirmation by this rule that has ended, also where another configuration leads by now.
    """

    gap: float | None
    status: Status
    words: str
    command: str | None
    confirmed: Confirmed | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        confirmed = self.confirmed.to_dict() if self.confirmed else None
        return {**vars(self), "confirmed": confirmed}


def judge_winner(ranking: Ranking) -> Verdict:
    """What is known of the winner of `ranking`: a search alone says nothing of luck, a confirmation does."""
    second = ranking.runner_up
    gap = None if second is None else round(ranking.winner.score - second.score, 12)
    plan = confirmation_of(ranking)
    confirmed = judge_confirmation(ranking, plan) if plan is not None else None
    if confirmed is not None and _covers(ranking, confirmed.confirmation):
        status: Status = "better" if confirmed.better else "not shown"
        return Verdict(gap, status, _told(ranking, confirmed), None, confirmed)
    if not any(entry.configuration.role == "sample" for entry in ranking.ranked):
        return Verdict(gap, "provisional", "There is no other configuration to compare with.", None, confirmed)
    command = best_command(ranking.sweep, ranking.question, "--confirm")
    return Verdict(gap, "provisional", _provisional(ranking, plan, confirmed, command), command, confirmed)


def _covers(ranking: Ranking, confirmation: Confirmation) -> bool:
    """Whether the winner of the search took part in it."""
    winner = ranking.winner.configuration
    return winner.role == "recipe" or winner.number in [one.number for one in confirmation.finalists]


def _provisional(ranking: Ranking, plan: Confirmation | None, confirmed: Confirmed | None, command: str) -> str:
    winner, count = ranking.winner.configuration.name, len(ranking.ranked)
    if plan is not None and confirmed is None:
        runs = plan.runs(ranking.sweep.name)
        done = sum(trial.has_ended for trial in ranking.sweep.trials if trial.run in set(runs))
        return (
            f"Provisional: {winner} is being confirmed, {done} of {len(runs)} trials have ended, and nothing is said "
            f"before the last one has. `{command}` goes on."
        )
    if confirmed is not None:
        start = f"Provisional: {winner} has taken the lead since the last confirmation, which it had no part in."
    else:
        start = (
            f"Provisional: {winner} is the best of {count} on the dev rows and seeds that it was chosen by, so part of its "
            "lead is luck."
        )
    top, seeds = usual_numbers(ranking)
    finalists = min(top, sum(entry.configuration.role == "sample" for entry in ranking.ranked))
    return (
        f"{start} `{command}` trains the best {finalists} and the recipe with {seeds} fresh seeds each and says what is "
        "left of it."
    )


def _told(ranking: Ranking, confirmed: Confirmed) -> str:
    if not confirmed.differences:
        return f"Not confirmed: {len(confirmed.failed)} trials of the confirmation have failed, and what is left cannot be compared."
    first, plan = confirmed.differences[0], confirmed.confirmation
    over = f"over {len(confirmed.seeds)} fresh seeds, for {len(plan.finalists)} comparisons at once"
    if confirmed.better:
        best = confirmed.better[0]
        words = f"Confirmed: {best.name} is better than the recipe by {best.mean:.4f} in {ranking.rule.name}, {_seeds(best, confirmed)} {over}"
        words += f"; {_rows(best)}." if best.rows_low is not None else "."
    elif first.is_better_over_seeds:
        words = (
            f"Not confirmed: {first.name} is better on these dev rows ({first.mean:+.4f}, {_seeds(first, confirmed)} {over}), "
            f"but they are too few to say so of others: {_rows(first)}."
        )
    else:
        words = (
            f"Not confirmed: none is shown to be better than the recipe. The nearest, {first.name}, differs from it by "
            f"{first.mean:+.4f} in {ranking.rule.name}, {_seeds(first, confirmed)} {over}: they may be equal."
        )
    if confirmed.failed:
        words += f" Left out, since it failed: {', '.join(confirmed.failed)}."
    return words


def _seeds(own: Difference, confirmed: Confirmed) -> str:
    return f"{confirmed.level * 100:g} % interval {own.low:+.4f} … {own.high:+.4f}"


def _rows(own: Difference) -> str:
    return f"over dev rows {own.rows_low:+.4f} … {own.rows_high:+.4f}"
