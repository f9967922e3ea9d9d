"""Which hyperparameters matter, as far as the trials can tell that from noise."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cluster.analysis.configurations import SEARCHED, Configuration, configurations
from cluster.analysis.main_effects import design, interval, permute, shares
from cluster.analysis.study import Parameters
from cluster.sweeps.records import Sweep

FEWEST = 8
# Of so many searches in which no parameter matters, one says that some does; half of what is usual, since several scores are
# looked at.
ALPHA = 0.025
# A parameter that surely explains less than this may be held.
SMALL = 0.05


@dataclass(frozen=True)
class Importance:
    """`values`: parameter to the share (0 … 1) of the score's variance that goes with it alone, the highest first.

    A parameter is named only if its share is above what noise alone gives: `floors`, for all that were judged. `intervals`: 95 %
    intervals over the trials, of those that are named. `conditions`: those that only some trials have, to what these have in
    common; their shares are of the differences among these trials. `small`: parameters that surely explain little of what the
    named ones leave, to the most that it may be. `trials`: parameter to the number of configurations behind it. `reason`: what
    else has to be known, or why nothing is; None if there is nothing to say.
    """

    values: dict[str, float]
    reason: str | None = None
    trials: dict[str, int] = field(default_factory=dict)
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    floors: dict[str, float] = field(default_factory=dict)
    conditions: dict[str, str] = field(default_factory=dict)
    small: dict[str, float] = field(default_factory=dict)

    @property
    def unclear(self) -> dict[str, float]:
        """Parameters that cannot be told from noise, to the share that they would need."""
        return {name: floor for name, floor in self.floors.items() if name not in self.values}

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**vars(self), "intervals": {name: list(ends) for name, ends in self.intervals.items()}}


def importance_remarks(found: Importance) -> list[str]:
    """Sentences about what the shares do not say."""
    unclear = ", ".join(f"{name} ({floor:.0%})" for name, floor in found.unclear.items())
    lines = [f"Not told from noise, with the share that it would take: {unclear}."] if unclear else []
    return lines + ([found.reason] if found.reason else [])


@dataclass(frozen=True)
class Observation:
    """A sample and the score it got."""

    sample: Mapping[str, Any]
    score: float


def importances(sweep: Sweep, metric: str) -> Importance:
    """Main effects on the dev score `metric` of the configurations' best reports, means over their seeds; see `main_effects`."""
    return importance_of(configurations(sweep, SEARCHED), sweep, lambda scores: scores.get(metric, math.nan))


def importance_of(found: Sequence[Configuration], sweep: Sweep, measure: Any) -> Importance:
    """Main effects on what `measure` makes of the mean scores of the configurations `found`."""
    observations = [Observation(own.sample, measure(own.scores)) for own in found]
    some_cut = any(scored.trial.status != "finished" for own in found for scored in own.scored_trials)
    return main_effects(observations, sweep.space["parameters"], some_cut)


def main_effects(observations: Sequence[Observation], parameters: Parameters, some_cut: bool = False) -> Importance:
    """The share of the scores' variance that goes with each of `parameters` alone: the first-order term of an analysis of variance.

    A number's effect is a curve of degree 2 over its range (logarithmic if it is drawn so), a choice's a level for each value;
    the share is the adjusted R², and compared with those for permuted scores. A parameter that only some trials have is judged
    within them, in a group of its own. `some_cut`: trials that were not trained to their end take part.
    """
    seen = [own for own in observations if math.isfinite(own.score) and _is_within(own.sample, parameters)]
    if len(seen) < FEWEST:
        return Importance({}, f"Too few configurations with a score: {len(seen)}, at least {FEWEST} are needed.")
    if len({own.score for own in seen}) == 1:
        return Importance({}, f"All {len(seen)} configurations have the same score.")
    groups: dict[tuple[int, ...], list[str]] = {}
    for name in parameters:
        having = tuple(place for place, own in enumerate(seen) if name in own.sample)
        groups.setdefault(having, []).append(name)
    judged = {having: names for having, names in groups.items() if len(having) >= FEWEST}
    parts = [_Group.of(names, [seen[place] for place in having], parameters) for having, names in judged.items()]
    parts = [part for part in parts if part.designs]
    return _together(parts, len(seen), list(parameters), parameters, some_cut)


@dataclass(frozen=True)
class _Group:
    """Parameters that the same configurations have: columns for each, and the configurations' scores."""

    designs: dict[str, np.ndarray]
    scores: np.ndarray

    @classmethod
    def of(cls, names: Sequence[str], seen: Sequence[Observation], parameters: Parameters) -> "_Group":
        scores = np.array([own.score for own in seen])
        columns = {
            name: design(
                [own.sample[name] for own in seen], _scale([own.sample[name] for own in seen], parameters[name])
            )
            for name in names
        }
        varied = np.ptp(scores) > 0
        return cls({name: own for name, own in columns.items() if own is not None and varied}, scores)

    def judge(self, alpha: float) -> tuple[dict[str, float], dict[str, float]]:
        """Shares above the noise, and every parameter's floor."""
        found = permute(list(self.designs.values()), self.scores, alpha)
        names = list(self.designs)
        values = {name: float(found.shares[n]) for n, name in enumerate(names) if found.p[n] <= alpha}
        return values, dict(zip(names, map(float, found.floors), strict=True))

    def small(self, named: Mapping[str, float]) -> dict[str, float]:
        """Parameters beside the `named` ones whose share of what these leave is surely small, as a share of the whole."""
        rest = self.scores - self.scores.mean()
        if named:
            columns = np.concatenate([self.designs[name] for name in named], axis=1)
            columns = columns - columns.mean(0)
            rest = rest - columns @ np.linalg.lstsq(columns, rest, rcond=None)[0]
        left = float((rest**2).sum() / ((self.scores - self.scores.mean()) ** 2).sum())
        others = {name: own for name, own in self.designs.items() if name not in named}
        near = {name: own for name, own in others.items() if left * shares(own, rest[None])[0] < SMALL}
        ends = {name: left * interval(own, rest)[1] for name, own in near.items()}
        return {name: end for name, end in ends.items() if end < SMALL}


def _together(
    parts: Sequence[_Group], total: int, names: Sequence[str], parameters: Parameters, some_cut: bool
) -> Importance:
    values: dict[str, float] = {}
    floors: dict[str, float] = {}
    trials: dict[str, int] = {}
    ends: dict[str, tuple[float, float]] = {}
    small: dict[str, float] = {}
    for part in parts:
        named, own_floors = part.judge(ALPHA / len(parts))
        values |= named
        floors |= own_floors
        trials |= dict.fromkeys(part.designs, len(part.scores))
        ends |= {name: interval(part.designs[name], part.scores) for name in named}
        small |= part.small(named) if len(part.scores) == total else {}
    ordered = dict(sorted(values.items(), key=lambda pair: -pair[1]))
    conditions = {name: _condition(parameters[name]) for name in floors if trials[name] < total}
    reason = _reason([name for name in names if name not in floors], some_cut)
    return Importance(ordered, reason, trials, ends, floors, conditions, small)


def _is_within(sample: Mapping[str, Any], parameters: Parameters) -> bool:
    """Whether the sample lies in the space, as the recipe's own may not."""
    return all(
        sample[name] in about["values"] if about["kind"] == "choice" else about["low"] <= sample[name] <= about["high"]
        for name, about in parameters.items()
        if name in sample
    )


def _scale(values: Sequence[Any], about: Mapping[str, Any]) -> list[float] | None:
    """Where each number lies in its range, from 0 to 1; None for a choice."""
    if about["kind"] == "choice":
        return None
    low, high, points = float(about["low"]), float(about["high"]), [float(value) for value in values]
    if about["log"]:
        low, high, points = math.log(low), math.log(high), [math.log(point) for point in points]
    return [(point - low) / (high - low) if high > low else 0.0 for point in points]


def _condition(about: Mapping[str, Any]) -> str:
    return " and ".join(f"{name}={'|'.join(map(str, values))}" for name, values in about["when"].items())


def _reason(left_out: Sequence[str], some_cut: bool) -> str | None:
    parts = []
    if left_out:
        parts.append(f"Too few configurations or values to judge: {', '.join(left_out)}.")
    if some_cut:
        parts.append("Trials that were not trained to their end count with the best they had reached.")
    return " ".join(parts) or None
