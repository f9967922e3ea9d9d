"""Training in one process: rounds, evaluations, and what is kept."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from multitask.combination import Setting, build_combination
from multitask.config import RunConfig, load_recipe, parse_config
from multitask.data import MemoryTables, Tables, declare_memory, prepare_tables, tables_from_memory
from multitask.determinism import deterministic
from multitask.errors import UserError
from multitask.evaluation import dev_scores, evaluate, further_scores, task_scores, train_scores
from multitask.interrupt import interruptible
from multitask.learning_rate import LearningRate
from multitask.model import balance_classes, build_model, compile_layers, lowest_trained_layer
from multitask.objectives import RowObjective, Teacher
from multitask.sampling import Schedule
from multitask.trainer.lines import ProgressLine
from multitask.trainer.progress import Progress
from multitask.trainer.record import TrainRecord
from multitask.trainer.result import StepResult
from multitask.trainer.saved import Saved, SavedSteps
from multitask.trainer.step import Step
from multitask.trainer.trained import Trained
from multitask.work import WorkSource

OnStep = Callable[[int, StepResult], None]
OnEvaluation = Callable[[int, dict[str, float]], None]


def train(
    config: RunConfig | Mapping[str, Any] | str | Path,
    tables: MemoryTables | None = None,
    *,
    on_step: OnStep | None = None,
    on_evaluation: OnEvaluation | None = None,
    folder: str | Path | None = None,
    progress: bool = True,
    device: str | None = None,
) -> Trained:
    """Train the tasks of `config` in this process; Ctrl-C ends after the step and keeps what there is.

    What the config says of how passes are computed (`encoder.attention`, `training.compile`, `tf32`, `deterministic`) holds here, too.

    Args:
        config: a config, its plain values, or a recipe's name or file.
        tables: rows in memory by task and split, in place of files; as `multitask.data.tables_from_memory` reads them.
        on_step: called after each step with the number of steps done and what the step did.
        on_evaluation: called after each evaluation with the number of steps done and the scores.
        folder: where the training is saved, at evaluations and every `training.save_every` steps; one that was cut off
            goes on there to the bit. None keeps nothing.
        progress: whether to write how it goes to stderr.
        device: such as `cpu` or `cuda`; a GPU where there is one, if not given.

    Raises:
        UserError: config, data or encoder cannot be used; `folder` holds another training; the training has diverged.
    """
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    config, opened = _open(_config_of(config), tables)
    with deterministic(config.training.deterministic):
        trainer = Trainer(config, opened, where, SavedSteps(Path(folder)) if folder is not None else None)
        trainer.restore()
        line = ProgressLine(trainer.schedule.steps, shown=progress)
        for sentence in opened.remarks():
            line.say(sentence)
        return trainer.train(line, on_step, on_evaluation)


def _config_of(config: RunConfig | Mapping[str, Any] | str | Path) -> RunConfig:
    if isinstance(config, RunConfig):
        return config
    return parse_config(config, "config") if isinstance(config, Mapping) else load_recipe(str(config))


def _open(config: RunConfig, tables: MemoryTables | None) -> tuple[RunConfig, Tables]:
    if tables is None:
        return config, prepare_tables(config)
    return declare_memory(config, tables), tables_from_memory(config, tables)


class Trainer:
    """A training: model, step, and how far it is."""

    def __init__(
        self, config: RunConfig, tables: Tables, device: torch.device, saved: SavedSteps | None = None
    ) -> None:
        self.config, self.tables, self.device, self._saved = config, tables, device, saved
        self.source = WorkSource(config, tables.train, tables.pad_id, 0, 1, all_tasks=False)
        self.schedule = Schedule(config, self.source.sizes())
        self.learning_rate = LearningRate(config, self.schedule)
        self.model = build_model(config, device)
        balance_classes(self.model, tables.train)
        bregman = config.regularization.bregman
        self.teacher = Teacher(self.model, bregman, self.schedule.steps) if bregman else None
        if config.precision == "bf16":
            self.model.bfloat16()
        compile_layers(self.model.encoder, config)
        self.combination = build_combination(config, Setting(self.source.used_rows(), self.schedule.steps, config.seed))
        self.step = Step(self.model, config, self.combination, RowObjective(config, self.model, self.teacher))
        self.progress, self.record = Progress(), TrainRecord()
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, torch.Tensor] = {}

    def train(
        self, line: ProgressLine, on_step: OnStep | None = None, on_evaluation: OnEvaluation | None = None
    ) -> Trained:
        """Train to the end, to the end of patience or of `training.stop_after`, or to Ctrl-C."""
        progress = self.progress
        if self.config.training.evaluate_before and progress.step == 0:
            progress.baseline = self.scores()
            self._remember(progress.baseline)
        with interruptible() as interrupted:
            status = "finished"
            while progress.step < self.schedule.steps:
                if progress.stops_early(self.config.training):
                    status = "stopped"
                    break
                result = self.train_step()
                line.step(progress.step, result)
                if on_step:
                    on_step(progress.step, result)
                scores = self._after_step()
                if scores:
                    line.evaluation(progress.step, scores, best=progress.waited == 0)
                    if on_evaluation:
                        on_evaluation(progress.step, scores)
                if interrupted():
                    status = "interrupted"
                    self._save()
                    break
        if status != "interrupted" and (problem := progress.diverged_problem(self.config.training.selection)):
            raise UserError(problem)
        line.say(f"{status} after {progress.step} of {self.schedule.steps} steps")
        return self._trained(status)

    def train_step(self) -> StepResult:
        """One step, without anything that follows it."""
        progress = self.progress
        work, lr = self.source.share(self.schedule.round(progress.step)), self.learning_rate.at(progress.step)
        lowest = lowest_trained_layer(
            self.config, self.model.number_of_layers, work.round.phase, self.schedule.epoch_in_phase(progress.step)
        )
        self.model.train()
        result = self.step.run(work, lr, lowest)
        if self.teacher and result.applied:
            self.teacher.follow(self.model, progress.step)
        progress.trained(result, work.rows)
        if problem := progress.non_finite_problem(self.config.training.non_finite_limit):
            raise UserError(problem)
        self.record.add(result, lr)
        return result

    def scores(self) -> dict[str, float]:
        """Dev scores of all tasks, and those of training rows that are wanted besides, by metric name."""
        scores = {}
        for task, table in self.tables.dev.items():
            found = evaluate(self.model, task, table, self.tables.pad_id, self.device, self.config.precision)
            scores[task] = task_scores(self.config.tasks[task], found, np.asarray(table.labels))
        others = (self.model, self.config, self.tables, self.device)
        return dev_scores(self.config, scores) | further_scores(*others) | train_scores(*others)

    def _after_step(self) -> dict[str, float]:
        """Record, evaluate and save where the step count says so; the dev scores, if there are new ones."""
        step, training = self.progress.step, self.config.training
        evaluates = self.schedule.evaluates_after(step)
        record = self.record.take(self.progress) if evaluates or step % training.log_every == 0 else {}
        scores = self.scores() if evaluates else {}
        if scores and self.progress.evaluated(self.schedule.epochs_done(step), scores, training.selection):
            self.best = self.step.weights.copy()
        if record:
            self._remember(record | scores)
        if evaluates or training.saves_after(step):
            self._save()
        if evaluates:
            self.record.restart_clock()
        return scores

    def _remember(self, metrics: dict[str, float]) -> None:
        step = self.progress.step
        phase = self.schedule.phase_of(max(0, step - 1))
        self.history.append({"step": step, "epoch": self.schedule.epochs_done(step), "phase": phase, **metrics})

    def _save(self) -> None:
        if self._saved is None:
            return
        moments, numbers = self.step.weights.moments()
        tensors = {
            "weights": self.step.weights.copy(),
            "moments": moments,
            "best": self.best,
            "teacher": self.teacher.state_dict() if self.teacher else {},
            "combination": self.combination.state_dict(),
        }
        state = {
            "trajectory": self.config.trajectory_hash(),
            "data": self.tables.hashes(),
            "progress": self.progress.to_dict(),
            "history": self.history,
            "numbers": numbers,
            "loss_scale": self.step.loss_scale.state_dict(),
        }
        self._saved.write(self.progress.step, Saved(tensors, state))

    def restore(self) -> None:
        """Go on from where the folder stands, if it holds anything."""
        found = self._saved.newest(self.config, self.tables.hashes()) if self._saved else None
        if found is None:
            return
        tensors, state = found.tensors, found.state
        self.step.weights.load(tensors["weights"])
        self.step.weights.load_moments(tensors.get("moments", {}), state["numbers"])
        if self.teacher:
            self.teacher.load_state_dict(dict(tensors["teacher"]))
        self.combination.load_state_dict(dict(tensors.get("combination", {})))
        self.step.loss_scale.load_state_dict(state.get("loss_scale", {}))
        self.best = {name: value.to(self.device) for name, value in tensors.get("best", {}).items()}
        self.progress, self.history = Progress.from_dict(state["progress"]), state["history"]

    def _trained(self, status: str) -> Trained:
        if self.best:
            self.step.weights.load(self.best)
        weights = self.step.weights.copy()
        return Trained(self.config, self.tables, self.model, weights, self.progress, self.history, status)
