"""What a sweep writes down of itself and of each trial: plain values in JSON files."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from cluster.sweeps.confirmation import Confirmation
from multitask.plain_json import finite

Status = Literal["waiting", "running", "finished", "stopped", "failed"]
Role = Literal["recipe", "sample", "baseline", "refit", "confirm"]
# Trained by `concord best`, after the search and beside it.
AFTER_SEARCH: tuple[Role, ...] = ("refit", "confirm")
# What a trial failed of. What the cluster broke says nothing of the settings.
Cause = Literal["settings", "cluster"]
ENDED = ("finished", "stopped", "failed")


@dataclass(frozen=True)
class Report:
    """One evaluation of a trial.

    `iteration` counts evaluations from 1 and stands for the same number of training rows in every trial, whatever its
    sampling strategy. `rows` and `tokens` are those trained so far, `seconds` those that the workers took for them. It was
    made by the run `run`, which went by `sample`; where no run is told, by its trial's first one.
    """

    iteration: int
    step: int
    rows: int
    tokens: int
    seconds: float
    scores: dict[str, float]
    run: str = ""
    sample: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Generation:
    """A stretch of a population's trial: its run `run` went by `sample`, and began with the weights of the run `donor`.

    `iteration`, `step`, `rows` and `tokens` are where the donor stood by then.
    """

    run: str
    iteration: int
    step: int
    donor: str
    sample: dict[str, Any]
    rows: int = 0
    tokens: int = 0


@dataclass(frozen=True)
class Trial:
    """One trial, named `run` after its run folder.

    `number` names the configuration, 0 is the recipe itself; `repeat` the seed: trials that differ in it alone tell luck
    from gain. `sample` maps the space's parameters that are active to their values. `reports` are those of its own runs, in
    the order in which they came: what a donor reported is the donor's. `stopped` is a trial that the scheduler
    ended early, `reason` says in one line why a trial was stopped or failed, `cause` what it failed of; `interruptions` counts
    how often the cluster ended it in this attempt at the sweep. `winner` is the run that a refit trains again. `planned_rows` and `planned_iterations` are
    those of the whole trial. Times are Unix seconds; `seconds` is how long it ran, over all attempts.
    """

    number: int
    repeat: int
    role: Role
    run: str
    sample: dict[str, Any]
    status: Status = "waiting"
    reason: str | None = None
    reports: tuple[Report, ...] = ()
    generations: tuple[Generation, ...] = ()
    planned_rows: int = 0
    planned_iterations: int = 0
    attempts: int = 0
    started: float | None = None
    ended: float | None = None
    seconds: float = 0.0
    cause: Cause | None = None
    interruptions: int = 0
    winner: str | None = None

    @property
    def current_run(self) -> str:
        """The run that it trains now."""
        return self.generations[-1].run if self.generations else self.run

    @property
    def current_sample(self) -> dict[str, Any]:
        """What it goes by now."""
        return self.generations[-1].sample if self.generations else self.sample

    @property
    def position(self) -> Report | Generation | None:
        """How far its weights are trained, whoever trained them: its last report, or what it has taken over since."""
        if self.generations and (not self.reports or self.reports[-1].run != self.current_run):
            return self.generations[-1]
        return self.reports[-1] if self.reports else None

    @property
    def iteration(self) -> int:
        """How many evaluations its weights have seen."""
        return self.position.iteration if self.position else 0

    @property
    def rows(self) -> int:
        """Rows that it trained itself."""
        return self._trained("rows")

    @property
    def tokens(self) -> int:
        """Tokens that it trained itself."""
        return self._trained("tokens")

    def _trained(self, unit: str) -> int:
        begun = {generation.run: getattr(generation, unit) for generation in self.generations}
        reached = {report.run: getattr(report, unit) for report in self.reports}
        return sum(count - begun.get(run, 0) for run, count in reached.items())

    @property
    def has_ended(self) -> bool:
        """Whether it will not go on."""
        return self.status in ENDED

    def best(self, selection: str) -> Report | None:
        """The report with the highest finite `selection`, the first of equals: that of the checkpoint that is kept."""
        known = [r for r in self.reports if math.isfinite(r.scores.get(selection, math.nan))]
        return max(known, key=lambda report: report.scores[selection], default=None)

    def with_report(self, report: Report) -> "Trial":
        """The trial with `report` in place of its run's of that iteration and later ones, which are trained again."""
        kept = tuple(own for own in self.reports if own.run != report.run or own.iteration < report.iteration)
        return replace(self, reports=(*kept, report))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; scores that are not finite become null."""
        values: dict[str, Any] = finite(asdict(self))
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Trial":
        """The trial that `to_dict` wrote, with the attempt beside it that the sweep's folder was in."""
        tree = {key: value for key, value in values.items() if key != "attempt"}
        tree["reports"] = tuple(_report(report) for report in tree["reports"])
        tree["generations"] = tuple(Generation(**generation) for generation in tree["generations"])
        trial = cls(**tree)
        return trial if all("run" in report for report in values["reports"]) else _with_runs(trial)


def _with_runs(trial: Trial) -> Trial:
    """An older version's trial as it is now: its reports had no run, and in a population began with the last donor's."""
    own = [replace(report, run=trial.current_run, sample=trial.current_sample) for report in trial.reports]
    if not trial.generations:
        return replace(trial, reports=tuple(own))
    last = trial.generations[-1]
    start = next((report for report in own if report.iteration == last.iteration), None)
    if start is not None:
        last = replace(last, rows=start.rows, tokens=start.tokens)
    own = [report for report in own if report.iteration > last.iteration]
    return replace(trial, reports=tuple(own), generations=(*trial.generations[:-1], last))


def _report(values: Mapping[str, Any]) -> Report:
    scores = {key: math.nan if score is None else score for key, score in values["scores"].items()}
    return Report(**{**values, "scores": scores})


@dataclass(frozen=True)
class Options:
    """How a sweep searches. `metrics` are dev scores, higher is better; several ask for their Pareto front.

    `evaluations`: reports of a trial as long as the recipe. `grace`: reports before a scheduler may stop a trial;
    `reduction`: of as many trials one goes on (ASHA). `budget_seconds` and `budget_tokens` bound the sweep as a whole,
    `trial_seconds` each trial. `keep`: configurations whose checkpoints are kept, the best ones.
    """

    trials: int
    search: str = "random"
    scheduler: str = "fifo"
    metrics: tuple[str, ...] = ("dev/mean",)
    repeats: int = 1
    baselines: bool = False
    seed: int = 0
    evaluations: int = 9
    grace: int = 1
    reduction: int = 3
    concurrent: int | None = None
    budget_seconds: float | None = None
    budget_tokens: int | None = None
    keep: int = 5
    trial_seconds: float | None = None

    @property
    def selection(self) -> str:
        """The score that chooses each trial's best checkpoint."""
        return self.metrics[0] if len(self.metrics) == 1 else "dev/mean"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"metrics": list(self.metrics)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Options":
        """The options that `to_dict` wrote."""
        search = "tpe" if values["search"] == "optuna" else values["search"]  # its name in older sweeps
        return cls(**{**values, "search": search, "metrics": tuple(values["metrics"])})


@dataclass(frozen=True)
class Sweep:
    """A sweep and its trials as its folder holds them.

    `base`: the recipe's config as plain values. `space`: `name`, `about`, `identity` and `parameters`, each a name to its
    description (`tune_spaces.Space.describe`). `elapsed`: seconds that it ran, over all attempts; `status` is `running` also
    where its driver was killed. `id` tells it from others of its name, in W&B as the group of its runs; the name where it has none.
    `tries`: samples that somebody asked for beside what the search proposes. `confirmations`: what was planned to
    tell the winner from luck, the last one last.
    """

    name: str
    location: str
    recipe: str
    base: dict[str, Any]
    space: dict[str, Any]
    options: Options
    trials: tuple[Trial, ...] = ()
    status: Literal["running", "finished", "stopped", "failed"] = "running"
    elapsed: float = 0.0
    created: float = 0.0
    versions: dict[str, str] = field(default_factory=dict)
    id: str = ""
    tries: tuple[dict[str, Any], ...] = ()
    confirmations: tuple[Confirmation, ...] = ()

    @property
    def group(self) -> str:
        """What W&B groups its runs by."""
        return self.id or self.name
