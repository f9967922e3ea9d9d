"""A run inside one worker: train, evaluate, save, go on."""

from typing import Any

import numpy as np
import torch

from cluster.agreement import from_rank_zero, on_every_rank
from cluster.checkpoint import find_checkpoint, load_engine, prune, read_state, save_checkpoint
from cluster.engine import Engine, start_engine
from cluster.observers import Outcome
from cluster.outcome import end_run, non_finite_error, result_values
from cluster.progress import Progress
from cluster.records import TrainRecord
from cluster.run_folder import RunFolder
from cluster.session import Session
from cluster.step import MultitaskStep
from cluster.stopwatch import Stopwatch
from cluster.tables import Tables
from cluster.work import WorkSource
from multitask.combination import build_combination
from multitask.config import RunConfig
from multitask.evaluation import dev_scores, error_tables, evaluate, task_scores
from multitask.model import EmbeddingTap, build_model
from multitask.optimization import learning_rate
from multitask.sampling import Schedule


class Run:
    """A run inside one worker."""

    def __init__(
        self, config: RunConfig, session: Session, folder: RunFolder, tables: Tables, watch: Stopwatch
    ) -> None:
        self.config, self.session, self.folder, self.tables, self.watch = config, session, folder, tables, watch
        self.source = WorkSource(
            config, tables.train, tables.pad_id, session.rank, session.world, together=config.zero.stage == 3
        )
        self.schedule = Schedule(config, self.source.batches_per_pass())
        model = on_every_rank(lambda: build_model(config))
        embedding = model.token_embedding()
        tap = EmbeddingTap(embedding[1]) if embedding else None
        self.engine: Engine = start_engine(model, config, session.device)
        self.combination = build_combination(config, {task: table.rows for task, table in tables.train.items()})
        self.step = MultitaskStep(self.engine, self.combination, config, tap, watch)
        self.progress = Progress()
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
            load_engine(storage, found, self.engine)
        self.combination.load_state_dict({k: torch.tensor(v) for k, v in state["combination"].items()})
        self.progress = Progress(**state["progress"])
        self.resumed_step = self.progress.step

    def go(self) -> Outcome:
        """Train to the end."""
        record, progress = TrainRecord(), self.progress
        if self.config.training.evaluate_before and progress.step == 0:
            progress.baseline = self._evaluate()[0]
            self.session.report(self.position() | progress.baseline)
        self.engine.deepspeed.train()
        record.restart_clock()
        while progress.step < self.schedule.steps and not self._out_of_patience():
            self._one_step(record)
            if progress.skipped_steps > self.config.training.non_finite_limit:
                return end_run(self, "failed", non_finite_error(self))
            self._after_step(record)
        stopped = progress.step < self.schedule.steps
        return end_run(self, "stopped" if stopped else "finished", None)

    def _one_step(self, record: TrainRecord) -> None:
        progress, config = self.progress, self.config
        with self.watch("data"):
            work = self.source.share(self.schedule.round(progress.step))
        lr = learning_rate(progress.step, self.schedule.steps, config.optimizer.lr, config.schedule)
        result = self.step.run(work, lr)
        progress.step += 1
        progress.tokens += result.tokens
        for task in result.losses:
            progress.trained_steps[task] = progress.trained_steps.get(task, 0) + 1
        if not result.applied:
            progress.skipped_steps += 1
            for task in result.culprits:
                progress.skipped[task] = progress.skipped.get(task, 0) + 1
        record.add(result, lr)

    def _after_step(self, record: TrainRecord) -> None:
        """Report, evaluate and save where the step count says so."""
        step, training = self.progress.step, self.config.training
        end = step == self.schedule.steps
        every = training.evaluate_every
        evaluates = end or (self.schedule.is_epoch_end(step) if every is None else step % every == 0)
        metrics = {}
        if evaluates or step % training.log_every == 0:
            metrics = self.position() | record.take(self.progress)
        if evaluates:
            scores, tables = self._evaluate()
            best = self.progress.evaluated(self.schedule.epochs_done(step), scores, training.selection)
            metrics |= {**scores, "dev/best": best}
            if best and self.session.rank == 0:
                self.folder.write_json("best_tables.json", tables)
        if evaluates or (training.save_every is not None and step % training.save_every == 0):
            self._save()
            if self.session.rank == 0:
                self.folder.write_result(result_values(self, "running"))
        if metrics:
            self.session.report(metrics)
        if evaluates:
            record.restart_clock()

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
            save_checkpoint(self.folder.storage, self.engine, self.progress.step, state)
            if self.session.rank == 0:
                prune(self.folder.storage, self.progress.best_step)

    def position(self) -> dict[str, Any]:
        """Step, epoch and phase of the last step done."""
        step = self.progress.step
        phase = self.schedule.phase_of(max(0, step - 1))
        return {"step": step, "epoch": self.schedule.epochs_done(step), "phase": phase}

    def _out_of_patience(self) -> bool:
        patience = self.config.training.patience
        return patience is not None and self.progress.waited >= patience
