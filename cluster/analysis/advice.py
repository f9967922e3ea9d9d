"""What to try next: wider ranges, values to hold, and new configurations."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.analysis.commands import try_command
from cluster.analysis.configurations import SEARCHED
from cluster.analysis.importance import Importance
from cluster.analysis.ranking import Ranked, Ranking
from cluster.analysis.study import Parameters, frozen_trial, quiet_optuna, suggest
from cluster.analysis.value_text import exact_assignments, read_assignments, value_text
from cluster.sweeps.records import Sweep
from cluster.sweeps.search import reopen_search
from multitask.errors import UserError

EDGE, OUTER = 0.1, 0.25
PROPOSALS, ASKED = 3, 12
FEWEST = 6
Check = Callable[[Mapping[str, Any]], bool]


@dataclass(frozen=True)
class Advice:
    """`widen` and `hold`: a sentence each. `proposals`: samples, as texts `KEY=VALUE`. `reason`: why there are none.

    `commands`: what tries each of the proposals in the same sweep.
    """

    widen: tuple[str, ...]
    hold: tuple[str, ...]
    proposals: tuple[tuple[str, ...], ...]
    reason: str | None = None
    commands: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**vars(self), "proposals": [list(sample) for sample in self.proposals]}


def advise(ranking: Ranking, importance: Importance, check: Check | None = None) -> Advice:
    """What the results so far suggest; a proposal is one that `check` lets pass, by default the sweep's own space."""
    parameters: Parameters = ranking.sweep.space["parameters"]
    reason = _too_few(ranking)
    widen = () if reason else tuple(_widen(ranking.ranked, parameters))
    hold = tuple(_hold(ranking.winner, importance))
    if reason is not None:
        return Advice(widen, hold, (), reason)
    try:
        proposals = tuple(propose(ranking, check or space_check(ranking.sweep)))
    except UserError as error:
        return Advice(widen, hold, (), f"No configuration is proposed: {error}")
    return Advice(widen, hold, proposals, None, tuple(try_command(ranking.sweep, own) for own in proposals))


def space_check(sweep: Sweep) -> Check:
    """Whether a sample can be trained, as `concord sweep resume --try` will see it.

    Raises:
        UserError: the sweep's space cannot be opened any more.
    """
    search = reopen_search(sweep)
    return lambda sample: search.space.refusal(sample) is None


def _too_few(ranking: Ranking) -> str | None:
    if not ranking.sweep.space["parameters"]:
        return "The space has no parameters."
    if len(ranking.ranked) < FEWEST:
        return (
            f"Too few configurations with a score to learn from: {len(ranking.ranked)}, at least {FEWEST} are needed."
        )
    return None


def _widen(ranked: Sequence[Ranked], parameters: Parameters) -> list[str]:
    """Ranges with the winner in the last tenth at an end and most of the best configurations in its last quarter."""
    found = []
    for name, about in parameters.items():
        if about["kind"] == "choice" or name not in ranked[0].configuration.sample:
            continue
        having = [entry.configuration.sample[name] for entry in ranked if name in entry.configuration.sample]
        best = having[: max(3, len(having) // 5)]
        for end in ("low", "high"):
            outer = sum(_nearness(value, about, end) <= OUTER for value in best)
            at_edge = _nearness(best[0], about, end) <= EDGE and len(best) > 2 and outer * 2 > len(best)
            if at_edge and (wider := _wider(about, end)) is not None:
                found.append(
                    f"{name}: the winner and most of the best {len(best)} are at the {end} edge of its range; "
                    f"widen it from {value_text(about[end])} to {value_text(wider)}, for example."
                )
    return found


def _nearness(value: float, about: Mapping[str, Any], end: str) -> float:
    """Distance of `value` to an end of its range, as a share of the range; on a logarithmic scale if it is drawn so."""
    low, high, point, edge = about["low"], about["high"], value, about[end]
    if about["log"]:
        low, high, point, edge = (math.log(max(number, 1e-300)) for number in (low, high, point, edge))
    return abs(point - edge) / (high - low) if high > low else 1.0


def _wider(about: Mapping[str, Any], end: str) -> float | None:
    """A farther end; None where the range ends by nature: at 0, a count at 1, and a fraction that may be 1."""
    low, high, whole = about["low"], about["high"], about["kind"] == "int"
    if (
        (end == "low" and low == 0)
        or (whole and end == "low" and low == 1)
        or (not whole and end == "high" and high == 1)
    ):
        return None
    if about["log"]:
        value = low / 10 if end == "low" else high * 10
        return max(1, round(value)) if whole else value
    step = (high - low) / 2
    value = low - step if end == "low" else high + step
    value = max(value, 0) if low >= 0 else value
    return round(value) if whole else value


def _hold(winner: Ranked, importance: Importance) -> list[str]:
    sample = winner.configuration.sample
    return [
        f"{name} explains at most {share:.1%} of the differences: another sweep may hold it, by {name}={value_text(sample[name])}."
        for name, share in importance.small.items()
        if name in sample
    ]


def propose(ranking: Ranking, check: Check) -> list[tuple[str, ...]]:
    """Up to three new samples of Optuna's TPE (Bergstra et al. 2011), given every configuration's score by the rule."""
    import optuna

    parameters: Parameters = ranking.sweep.space["parameters"]
    found: list[tuple[str, ...]] = []
    tried = [trial.sample for trial in ranking.sweep.trials if trial.role in SEARCHED]
    with quiet_optuna():
        sampler = optuna.samplers.TPESampler(
            n_startup_trials=FEWEST, multivariate=True, group=True, constant_liar=True, seed=ranking.sweep.options.seed
        )
        study = optuna.create_study(direction="maximize", sampler=sampler)
        finished = (frozen_trial(entry.configuration.sample, entry.score, parameters) for entry in ranking.ranked)
        study.add_trials([trial for trial in finished if trial is not None])
        for _ in range(ASKED):
            texts = exact_assignments(suggest(study.ask(), parameters), parameters)
            sample = read_assignments(texts)
            if len(found) < PROPOSALS and sample not in tried and check(sample):
                tried.append(sample)
                found.append(texts)
    return found
