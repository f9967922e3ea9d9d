"""The rules by which a configuration is the best one. All see dev scores of kept checkpoints; higher is better."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from cluster.analysis.pareto import FrontScale
from multitask.config.messages import valid_names
from multitask.errors import UserError

Scores = Mapping[str, float]
CORRELATIONS = ("pearson", "spearman")
MEAN = "dev/mean"


@dataclass(frozen=True)
class Setting:
    """What rules are made of.

    `keys`: task to the dev score that it is judged by. `candidates`: the mean scores of each configuration. `weights` and
    `baselines`: task to a number; `margin`: how much below its baseline a task may be.
    """

    keys: Mapping[str, str]
    candidates: Sequence[Scores]
    weights: Mapping[str, float] = field(default_factory=dict)
    baselines: Mapping[str, float] = field(default_factory=dict)
    margin: float = 0.0

    def of_tasks(self, scores: Scores) -> dict[str, float]:
        """Task to its own score; not a number where it is not known."""
        return {task: scores.get(key, math.nan) for task, key in self.keys.items()}


class Rule:
    """Made once for a sweep; `score` is then asked for means over seeds and for each seed alone."""

    name: ClassVar[str]
    about: str

    def __init__(self, setting: Setting) -> None:
        self._setting = setting

    def score(self, scores: Scores) -> float:
        """How good these dev scores are, not a number where one that is needed is missing."""
        raise NotImplementedError

    def admits(self, scores: Scores) -> bool:
        """Whether a configuration with these scores may win."""
        return True


class DevScore(Rule):
    """One of the dev scores that the trials report."""

    def __init__(self, setting: Setting, key: str = MEAN) -> None:
        super().__init__(setting)
        self.name, self.about = key, f"the dev score {key}"  # type: ignore[misc]

    def score(self, scores: Scores) -> float:
        return scores.get(self.name, math.nan)


class Weighted(Rule):
    """Mean of the tasks' scores with given weights; a task that none is given for counts 1, one with 0 not at all."""

    name = "weighted"

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._weights = {task: setting.weights.get(task, 1.0) for task in setting.keys}
        if not setting.weights:
            raise UserError(f"--by weighted needs --weight TASK=NUMBER; tasks: {', '.join(setting.keys)}")
        if not sum(self._weights.values()):
            raise UserError("--weight: the weights of all tasks are 0")
        parts = ", ".join(f"{task} {weight:g}" for task, weight in self._weights.items())
        self.about = f"the mean of the tasks' scores, weighted {parts}"

    def score(self, scores: Scores) -> float:
        by_task = self._setting.of_tasks(scores)
        counted = {task: weight for task, weight in self._weights.items() if weight}
        return math.fsum(weight * by_task[task] for task, weight in counted.items()) / math.fsum(counted.values())


class Course(Rule):
    """Mean over the tasks, a correlation r counted as (r + 1) / 2: the overall score of Stanford's CS224N default project.

    There it is (accuracy + accuracy + (r + 1) / 2) / 3, for SST, Quora and STS.
    """

    name = "course"
    about = "the mean of the tasks' scores, a correlation r counted as (r + 1) / 2"

    def score(self, scores: Scores) -> float:
        by_task = self._setting.of_tasks(scores)
        mapped = [
            (value + 1) / 2 if self._setting.keys[task].rsplit("/", 1)[-1] in CORRELATIONS else value
            for task, value in by_task.items()
        ]
        return math.fsum(mapped) / len(mapped)


class Worst(Rule):
    """The least that a task gains over its single-task baseline.

    Gains are differences, not ratios: a correlation may be near 0 or below, where a ratio means nothing; and a difference is
    on the scale of `--margin`.
    """

    name = "worst"
    about = "the smallest difference of a task's score to its single-task baseline"

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        require_baselines(self.name, setting)

    def score(self, scores: Scores) -> float:
        by_task = self._setting.of_tasks(scores)
        gains = [value - self._setting.baselines[task] for task, value in by_task.items()]
        return math.nan if any(map(math.isnan, gains)) else min(gains)


class Knee(Rule):
    """Nearness to the ideal of having each task's best score at once: 1 is there, 0 as far as the front's worst corner."""

    name = "knee"
    about = "nearness to having every task's best score at once (1), on the scale of the Pareto front"

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._scale = FrontScale([list(setting.of_tasks(scores).values()) for scores in setting.candidates])

    def score(self, scores: Scores) -> float:
        point = list(self._setting.of_tasks(scores).values())
        return 1 - self._scale.distance(point) / math.sqrt(len(point))


class NoWorse(Rule):
    """The highest `dev/mean` with no task more than the margin below its single-task baseline."""

    name = "no-worse"

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        require_baselines(self.name, setting)
        self._worst = Worst(setting)
        self.about = f"the highest dev/mean with no task more than {setting.margin:g} below its single-task baseline"

    def score(self, scores: Scores) -> float:
        return scores.get(MEAN, math.nan)

    def admits(self, scores: Scores) -> bool:
        # A billionth: scores that are equal but for rounding are within the margin.
        return self._worst.score(scores) >= -self._setting.margin - 1e-9


RULES: dict[str, type[Rule]] = {rule.name: rule for rule in (Weighted, Course, Worst, Knee, NoWorse)}


def create_rule(by: str, setting: Setting) -> Rule:
    """The rule called `by`: one of `RULES`, or a dev score that some trial reports.

    Raises:
        UserError: there is none of this name, or it lacks weights or baselines.
    """
    if by in RULES:
        return RULES[by](setting)
    reported = list(dict.fromkeys(name for scores in setting.candidates for name in scores))
    if by not in reported:
        raise UserError(f"--by: there is no rule or dev score {by!r}; {valid_names(by, [*reported, *RULES])}")
    return DevScore(setting, by)


def require_baselines(name: str, setting: Setting) -> None:
    """Refuse a rule that lacks a task's baseline."""
    missing = [task for task in setting.keys if task not in setting.baselines]
    if missing:
        options = " ".join(f"--baseline {task}=SCORE" for task in missing)
        raise UserError(
            f"--by {name} needs the single-task score of {', '.join(missing)}: give {options}, "
            "or have them trained by concord sweep … --baselines"
        )
