"""A run inside one worker: train, evaluate, save, go on."""

from typing import Any

import numpy as np
import torch

from cluster.step.step import MultitaskStep
from cluster.step.stopwatch import Stopwatch
from cluster.storage.checkpoint import find_checkpoint, prune, read_state, read_tensors
from cluster.storage.checkpoint_restore import restore_engine
from cluster.storage.checkpoint_save import save_checkpoint
from cluster.storage.export_checkpoint import export_checkpoint
from cluster.storage.run_folder import RunFolder
from cluster.training.agreement import from_rank_zero, on_every_rank
from cluster.training.history import History
from cluster.training.observer import Outcome
from cluster.training.outcome import Ending, RunSummary, result_values, run_outcome
from cluster.training.session import Session
from cluster.zero.engine import Engine, start_engine
from multitask.combination import build_combination
from multitask.config import RunConfig
from multitask.data import Tables
from multitask.evaluation import dev_scores, error_tables, evaluate, task_scores
from multitask.learning_rate import LearningRate
from multitask.model import EmbeddingTap, build_model
from multitask.model.freezing import lowest_trained_layer
from multitask.objectives import RowObjective, Teacher
from multitask.sampling import Schedule
from multitask.trainer.progress import Progress
from multitask.trainer.record import TrainRecord
from multitask.work import WorkSource


class Run:
    """A run inside one worker."""

    def __init__(
        self, config: RunConfig, session: Session, folder: RunFolder, tables: Tables, watch: Stopwatch
    ) -> None:
        self.config, self.session, self.folder, self.tables, self.watch = config, session, folder, tables, watch
        self.source = WorkSource(
            config, tables.train, tables.pad_id, session.rank, session.world, all_tasks=config.zero.stage == 3
        )
        self.schedule = Schedule(config, self.source.sizes())
        self.learning_rate = LearningRate(config, self.schedule)
        model = on_every_rank(lambda: build_model(config))
        bregman = config.regularization.bregman
        self.teacher = Teacher(model.to(session.device), bregman.momentum) if bregman else None
        embedding = model.token_embedding()
        tap = EmbeddingTap(embedding[1]) if embedding else None
        self.engine: Engine = start_engine(model, config, session.device)
        objective = RowObjective(config, self.engine.model, self.teacher, lambda: watch("regularization"))
        self.combination = build_combination(config, self.source.used_rows())
        self.step = MultitaskStep(self.engine, self.combination, config, tap, objective, watch)
        self.progress = Progress()
        self.history = History()
        self.resumed_step = 0
        self.notes: list[str] = []

    def restore(self) -> None:
        """Go on from the newest whole checkpoint, if there is one."""
        storage = self.folder.storage
        found, self.notes = from_rank_zero(lambda: find_checkpoint(storage))
        if found is None:
            return
        with self.watch("save"):
            state = read_state(storage, found)
            restore_engine(storage, found, self.engine)
            if self.teacher:
                self.teacher.load_state_dict(read_tensors(storage, found))
        self.combination.load_state_dict({k: torch.tensor(v) for k, v in state["combination"].items()})
        self.progress = Progress(**state["progress"])
        self.resumed_step = self.progress.step
        if self.session.rank == 0:
            self.history = History.restore(self.folder, self.resumed_step)

    def train(self) -> Outcome:
        """Train to the end, and give the outcome, the same on every rank."""
        record, progress = TrainRecord(), self.progress
        if self.config.training.evaluate_before and progress.step == 0:
            progress.baseline = self._evaluate()[0]
            metrics = self.position() | progress.baseline
            self._remember(metrics)
            self.session.report(metrics)
        self.engine.deepspeed.train()
        record.restart_clock()
        while progress.step < self.schedule.steps and not progress.stops_early(self.config.training):
            self.train_step(record)
            if problem := progress.non_finite_problem(self.config.training.non_finite_limit):
                return self._end("failed", problem)
            self._after_step(record)
        stopped = progress.step < self.schedule.steps
        return self._end("stopped" if stopped else "finished", None)

    def train_step(self, record: TrainRecord) -> None:
        """One optimizer step, without anything that follows it."""
        progress = self.progress
        with self.watch("data"):
            work = self.source.share(self.schedule.round(progress.step))
        lr = self.learning_rate.at(progress.step)
        lowest = lowest_trained_layer(
            self.config,
            self.engine.model.number_of_layers,
            work.round.phase,
            self.schedule.epoch_in_phase(progress.step),
        )
        result = self.step.run(work, lr, lowest)
        if self.teacher and result.applied:
            with self.watch("regularization"), self.engine.whole_weights():
                self.teacher.follow(self.engine.model)
        progress.trained(result, work.rows)
        record.add(result, lr)

    def _after_step(self, record: TrainRecord) -> None:
        """Report, evaluate and save where the step count says so."""
        step, training = self.progress.step, self.config.training
        evaluates = self.schedule.evaluates_after(step)
        metrics = {}
        if evaluates or step % training.log_every == 0:
            metrics = self.position() | record.take(self.progress)
        if evaluates:
            scores, tables = self._evaluate()
            best = self.progress.evaluated(self.schedule.epochs_done(step), scores, training.selection)
            metrics |= {**scores, "dev/best": best, "train/evaluations": len(self.progress.history)}
            if best and self.session.rank == 0:
                self.folder.write_json("best_tables.json", tables)
        if metrics:
            self._remember(metrics)
        saves = step == training.stop_after or (training.save_every is not None and step % training.save_every == 0)
        if evaluates or saves:
            self._save()
            if self.session.rank == 0:
                self.folder.write_result(result_values(self.summary(), "running"))
        if metrics:
            self.session.report(metrics)
        if evaluates:
            record.restart_clock()

    def _end(self, status: Ending, error: str | None) -> Outcome:
        """Export the best checkpoint, write the result, and say how it went."""
        files = {"run folder": self.folder.location}
        if self.progress.best_step is not None and status != "failed":
            if self.config.cluster.export:
                with self.watch("save"):
                    files |= from_rank_zero(self._export)
            tables = self.folder.read_json("best_tables.json") if self.session.rank == 0 else {}
            self.session.report(self.position() | {"tables": from_rank_zero(lambda: tables)})
        summary = self.summary()
        if self.session.rank == 0:
            self.folder.write_result(result_values(summary, status) | {"error": error, "files": files})
        result = self.folder.storage.path("result.json")
        return run_outcome(summary, status, error, files | {"result": result})

    def _export(self) -> dict[str, str]:
        assert self.progress.best_step is not None
        checkpoint, export = export_checkpoint(self.folder, self.progress.best_step)
        return {"best checkpoint": checkpoint, "export": export}

    def summary(self) -> RunSummary:
        """The run as it stands."""
        return RunSummary(
            config=self.config,
            location=self.folder.location,
            tables=self.tables,
            workers=self.session.world,
            device=self.session.device.type,
            steps=self.schedule.steps,
            resumed_step=self.resumed_step,
            notes=tuple(self.notes),
            progress=self.progress,
            seconds={part: round(value, 3) for part, value in self.watch.seconds.items()},
        )

    def _remember(self, metrics: dict[str, Any]) -> None:
        if self.session.rank == 0:
            self.history.add(metrics)

    def _evaluate(self) -> tuple[dict[str, float], dict[str, Any]]:
        """Dev scores of all tasks, and tables of what is wrong."""
        with self.watch("evaluate"):
            scores: dict[str, dict[str, float]] = {}
            tables: dict[str, Any] = {}
            for task, table in self.tables.dev.items():
                found = evaluate(
                    self.engine.model, task, table, self.tables.pad_id, self.session.device, self.config.precision
                )
                own = self.config.tasks[task]
                scores[task] = task_scores(own, found.predictions, np.asarray(table.labels))
                if self.session.rank == 0:
                    tables |= error_tables(task, own, table, found)
        return dev_scores(self.config, scores), tables

    def _save(self) -> None:
        with self.watch("save"):
            state = {
                "config": self.config.to_dict(),
                "trajectory": self.config.trajectory_hash(),
                "data": self.tables.hashes(),
                "world": self.session.world,
                "zero": self.config.zero.stage,
                "progress": self.progress.to_dict(),
                "combination": {k: v.tolist() for k, v in self.combination.state_dict().items()},
            }
            tensors = self.teacher.state_dict() if self.teacher else {}
            save_checkpoint(self.folder.storage, self.engine, self.progress.step, state, tensors)
            if self.session.rank == 0:
                self.history.write(self.folder)
                prune(self.folder.storage, self.progress.best_step)

    def position(self) -> dict[str, Any]:
        """Step, epoch and phase of the last step done."""
        step = self.progress.step
        phase = self.schedule.phase_of(max(0, step - 1))
        return {"step": step, "epoch": self.schedule.epochs_done(step), "phase": phase}
