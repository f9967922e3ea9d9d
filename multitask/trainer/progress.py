"""How far a run is, and how well it does: the part of a checkpoint that is no tensor."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from multitask.config.training import TrainingConfig
from multitask.score_names import is_dev_score
from multitask.trainer.result import StepResult


@dataclass
class Progress:
    """Counters and scores of a run; the same on every rank, and restored from a checkpoint.

    `history`: one dict per evaluation with `step`, `epoch`, `rows`, `tokens` and the scores. `waited`: evaluations since
    the best. `trained_steps`: task to steps that trained it. `rows` and `tokens`: trained so far, padding not counted.
    `skipped`: task to steps that were left out since its loss or gradient was not finite; those that only lower a loss scale are
    `overflowed_steps`.
    """

    step: int = 0
    best_step: int | None = None
    best_score: float | None = None
    waited: int = 0
    rows: int = 0
    tokens: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    skipped_steps: int = 0
    skipped_in_a_row: int = 0
    overflowed_steps: int = 0
    trained_steps: dict[str, int] = field(default_factory=dict)
    baseline: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)

    def trained(self, result: StepResult, rows: int) -> None:
        """Take in a step over `rows` rows."""
        self.began(tuple(result.losses), rows)
        self.saw(result)

    def began(self, tasks: Sequence[str], rows: int) -> None:
        """Take in a step of `tasks` over `rows` rows, as far as it is known before it is looked at."""
        self.step += 1
        self.rows += rows
        for task in tasks:
            self.trained_steps[task] = self.trained_steps.get(task, 0) + 1

    def saw(self, result: StepResult) -> None:
        """Take in what a step did."""
        self.tokens += result.tokens
        if result.overflowed:
            self.overflowed_steps += 1
            return
        self.skipped_steps += not result.applied
        self.skipped_in_a_row = 0 if result.applied else self.skipped_in_a_row + 1
        for task in result.culprits:
            self.skipped[task] = self.skipped.get(task, 0) + 1

    def non_finite_problem(self, limit: int) -> str | None:
        """Why the run must end, if more than `limit` steps in a row had a loss or gradient that is not finite."""
        if self.skipped_in_a_row <= limit:
            return None
        tasks = ", ".join(f"{task} {count}" for task, count in self.skipped.items())
        return (
            f"{self.skipped_in_a_row} steps in a row, up to step {self.step}, had a loss or gradient that is not finite "
            f"(in all: {tasks}); the limit is training.non_finite_limit={limit}"
        )

    def diverged_problem(self, selection: str) -> str | None:
        """Why a run that is over has failed, if it was evaluated and the score it is chosen by was never a number."""
        if self.best_step is not None or not self.history:
            return None
        return f"{selection} was not a finite number in any evaluation: the training has diverged; lower optimizer.lr"

    def stops_early(self, training: TrainingConfig) -> bool:
        """Whether the run ends before its schedule does: out of patience, or as far as it is to go."""
        impatient = training.patience is not None and self.waited >= training.patience
        return impatient or (training.stop_after is not None and self.step >= training.stop_after)

    def evaluated(self, epoch: float, scores: dict[str, float], selection: str) -> bool:
        """Take in an evaluation; True where it is the best so far."""
        position = {"step": self.step, "epoch": epoch, "rows": self.rows, "tokens": self.tokens}
        self.history.append({**position, **scores})
        score = scores[selection]
        better = math.isfinite(score) and (self.best_score is None or score > self.best_score)
        if better:
            self.best_step, self.best_score, self.waited = self.step, score, 0
        else:
            self.waited += 1
        return better

    def best_scores(self) -> dict[str, float]:
        """The dev scores of the best evaluation; empty before the first."""
        found = [h for h in self.history if h["step"] == self.best_step]
        return {k: v for k, v in found[-1].items() if is_dev_score(k)} if found else {}

    def to_dict(self) -> dict[str, Any]:
        """Plain values; `from_dict` gives it back, also from JSON, which has null where a score is not a number."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Progress":
        """What `to_dict` gave."""
        history = [
            {key: math.nan if value is None else value for key, value in point.items()} for point in values["history"]
        ]
        baseline = {key: math.nan if value is None else value for key, value in values["baseline"].items()}
        return cls(**{**values, "history": history, "baseline": baseline})
