"""Whether the winner is better than the runner-up, or luckier."""

from dataclasses import dataclass
from typing import Any

from cluster.analysis.configurations import Values, configurations, pooled_spread
from cluster.analysis.ranking import Ranking


@dataclass(frozen=True)
class Verdict:
    """`gap`: the winner's score less the runner-up's. `spread`: standard deviation over seeds, None where none is known.

    `seeds`: of the winner and of the runner-up. `larger`: whether the gap is larger than the spread, None where that cannot be
    said. `words` says it all.
    """

    gap: float | None
    spread: float | None
    seeds: tuple[int, int]
    larger: bool | None
    words: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**vars(self), "seeds": list(self.seeds)}


def judge_gap(ranking: Ranking) -> Verdict:
    """Compare the gap between the first two with the spread over seeds.

    The spread is that of the two; if neither has a second seed, that of the sweep's other configurations and refits.
    """
    first, second = ranking.winner, ranking.runner_up
    if second is None:
        return Verdict(
            None, None, (len(first.values.each), 0), None, "There is no other configuration to compare with."
        )
    gap = round(first.score - second.score, 12)
    seeds = (len(first.values.each), len(second.values.each))
    spread, source = pooled_spread([first.values, second.values]), f"{_seeds(seeds[0])} and {_seeds(seeds[1])}"
    if spread is None:
        spread = pooled_spread(_other_values(ranking))
        source = "that of refits and other configurations: these two have one seed each"
    if spread is None:
        return Verdict(gap, None, seeds, None, _unknown(gap, ranking))
    larger = gap > spread
    return Verdict(gap, spread, seeds, larger, _words(gap, spread, larger, source))


def _other_values(ranking: Ranking) -> list[Values]:
    rule = ranking.rule.score
    refits = [configuration.values(rule) for configuration in configurations(ranking.sweep, ("refit",))]
    return [entry.values for entry in ranking.ranked[2:]] + [one.values(rule) for one in ranking.others] + refits


def _words(gap: float, spread: float, larger: bool, source: str) -> str:
    if larger:
        return f"The gap of {gap:.4f} is larger than the spread over seeds, {spread:.4f} ({source})."
    start = "Winner and runner-up are equal" if gap == 0 else f"The gap of {gap:.4f} is not larger"
    end = "; the spread over seeds is" if gap == 0 else " than the spread over seeds,"
    return f"{start}{end} {spread:.4f} ({source}): the runner-up may be as good."


def _unknown(gap: float, ranking: Ranking) -> str:
    start = "Winner and runner-up are equal." if gap == 0 else f"The gap is {gap:.4f}."
    return (
        f"{start} With one seed each nothing can be said of luck. To find out: "
        f"`concord best {ranking.sweep.name} --refit` trains the winner with other seeds, "
        "`concord sweep … --repeats 3` every configuration."
    )


def _seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"
