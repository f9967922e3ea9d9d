"""The configurations of a sweep in the order of a rule."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from cluster.analysis.baselines import baseline_scores, task_keys
from cluster.analysis.configurations import Configuration, Values, configurations
from cluster.analysis.pareto import pareto_front
from cluster.analysis.rules import MEAN, NoWorse, Rule, Setting, Weighted, Worst, create_rule
from cluster.sweeps.confirmation import Question
from cluster.sweeps.records import Sweep
from cluster.sweeps.sweep_place import recipe_config
from multitask.config.messages import valid_names
from multitask.errors import UserError


@dataclass(frozen=True)
class Ranked:
    """A configuration with what the rule says of its mean scores (`score`) and of each seed's."""

    configuration: Configuration
    score: float
    values: Values


@dataclass(frozen=True)
class Ranking:
    """`ranked`: the best first, of equals the one with the higher dev/mean, then the one tried first.

    Behind all that are complete come those of which a seed lacks or has failed: the seeds that are there may be the lucky ones.
    `others`: configurations that the rule does not admit or has no finite score for. `keys`: task to the dev score that it is
    judged by. `baselines`: task to its single-task score, where known. `question`: what was asked for.
    """

    sweep: Sweep
    rule: Rule
    keys: dict[str, str]
    baselines: dict[str, float]
    ranked: tuple[Ranked, ...]
    others: tuple[Configuration, ...]
    question: Question

    @property
    def winner(self) -> Ranked:
        """The first."""
        return self.ranked[0]

    @property
    def runner_up(self) -> Ranked | None:
        """The second; None where there is none."""
        return self.ranked[1] if len(self.ranked) > 1 else None

    @property
    def recipe(self) -> Configuration | None:
        """The recipe itself, also where the rule does not admit it; None if it has no score."""
        everything = (*(entry.configuration for entry in self.ranked), *self.others)
        return next((configuration for configuration in everything if configuration.role == "recipe"), None)

    @property
    def front(self) -> list[Configuration]:
        """The configurations that no other one surpasses in all metrics of a search for several; none of a search for one."""
        metrics = self.sweep.options.metrics
        if len(metrics) == 1:
            return []
        everything = [*(entry.configuration for entry in self.ranked), *self.others]
        points = [[configuration.scores.get(metric, math.nan) for metric in metrics] for configuration in everything]
        return [everything[place] for place in pareto_front(points)]

    def judge(self, configuration: Configuration) -> Ranked:
        """What the rule says of `configuration`."""
        return Ranked(configuration, self.rule.score(configuration.scores), configuration.values(self.rule.score))


def rank(
    sweep: Sweep,
    by: str | None = None,
    weights: Mapping[str, float] | None = None,
    baselines: Mapping[str, float] | None = None,
    margin: float | None = None,
) -> Ranking:
    """Order the configurations of `sweep` by the rule or dev score `by`; by the score that it searched for if not given.

    `weights` are for `weighted`, `margin` for `no-worse`; `baselines` go before those that the sweep trained.

    Raises:
        UserError: no trial has a score, none is admitted, or `by` and the other options do not fit each other or the sweep.
    """
    by, found = by or sweep.options.selection, configurations(sweep)
    if not found:
        raise UserError(f"{sweep.name}: no trial has been evaluated yet; see concord sweep status {sweep.name}")
    keys = task_keys(recipe_config(sweep))
    _check(by, keys, weights or {}, baselines or {}, margin)
    known = baseline_scores(sweep, keys, baselines or {})
    setting = Setting(keys, [configuration.scores for configuration in found], weights or {}, known, margin or 0.0)
    rule = create_rule(by, setting)
    question = Question(rule.name, dict(weights or {}), dict(baselines or {}), margin or 0.0)
    ranking = Ranking(sweep, rule, keys, known, (), (), question)
    judged = [ranking.judge(configuration) for configuration in found]
    ranked = [entry for entry in judged if math.isfinite(entry.score) and rule.admits(entry.configuration.scores)]
    if not ranked:
        raise UserError(_none(judged, setting, by))
    ranked.sort(key=_place)
    others = tuple(entry.configuration for entry in judged if entry not in ranked)
    return replace(ranking, ranked=tuple(ranked), others=others)


def _place(ranked: Ranked) -> tuple[bool, float, float, int]:
    # Rounded: scores that are equal but for the order of a sum are equal.
    own, mean = ranked.configuration, ranked.configuration.scores.get(MEAN, math.nan)
    next_key = -round(mean, 12) if math.isfinite(mean) else math.inf
    return not own.is_complete, -round(ranked.score, 12), next_key, own.number


def _check(
    by: str, keys: Mapping[str, str], weights: Mapping[str, float], baselines: Mapping[str, float], margin: float | None
) -> None:
    for option, given in (("--weight", weights), ("--baseline", baselines)):
        for task in given:
            if task not in keys:
                raise UserError(f"{option}: the sweep has no task {task!r}; {valid_names(task, keys)}")
    for task, weight in weights.items():
        if weight < 0:
            raise UserError(f"--weight: a weight must be 0 or more, got {task}={weight:g}")
    if weights and by != Weighted.name:
        raise UserError(f"--weight is for --by {Weighted.name}, got --by {by}")
    if margin is not None and by != NoWorse.name:
        raise UserError(f"--margin is for --by {NoWorse.name}, got --by {by}")
    if margin is not None and margin < 0:
        raise UserError(f"--margin must be 0 or more, got {margin:g}")


def _none(judged: list[Ranked], setting: Setting, by: str) -> str:
    """Why no configuration can win."""
    if by != NoWorse.name:
        return f"--by {by}: no configuration has a finite score"
    worst = Worst(setting)
    scored = [(worst.score(entry.configuration.scores), entry.configuration) for entry in judged]
    known = [pair for pair in scored if math.isfinite(pair[0])]
    if not known:
        return f"--by {by}: no configuration has a finite score for every task"
    gain, nearest = max(known, key=lambda pair: pair[0])
    return (
        f"--by {by}: every configuration has a task more than {setting.margin:g} below its single-task baseline; "
        f"nearest is {nearest.name}, {-gain:.4f} below: --margin {math.ceil(round(-gain * 1000, 6)) / 1000:g} admits it"
    )
