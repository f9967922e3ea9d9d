"""A run inside one worker: train, evaluate, save, go on."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import torch

from cluster.step.place import HERE
from cluster.step.step import MultitaskStep
from cluster.step.stopwatch import Stopwatch
from cluster.step.wire import block_size
from cluster.storage.checkpoint import read_state
from cluster.storage.checkpoint_restore import read_tensors, restore_engine
from cluster.storage.checkpoint_save import take_snapshot
from cluster.storage.checkpoint_search import search_checkpoint
from cluster.storage.run_folder import RunFolder
from cluster.training.dev_evaluation import DevEvaluation, evaluate_dev
from cluster.training.device_figures import DeviceFigures
from cluster.training.history import History
from cluster.training.host_looks import Looks
from cluster.training.observer import Outcome
from cluster.training.outcome import Ending, RunSummary, checkpoint_state, export_best, result_values, run_outcome
from cluster.training.run_files import best_tables, files_of_best, run_files
from cluster.training.save_interval import AutoSave
from cluster.training.saver import Saver
from cluster.training.session import Session
from cluster.training.stop_request import NOT_WRITTEN, RESTARTS, RestartRequestedError, StopRequest
from cluster.training.store_agreement import StoreAgreement
from cluster.training.work_ahead import WorkAhead
from cluster.zero.engine import Engine, start_engine
from multitask.combination import Setting, build_combination
from multitask.config import RunConfig
from multitask.data import Tables, check_same_rows, collate
from multitask.learning_rate import LearningRate
from multitask.model import balance_classes, build_model, compile_layers, lowest_trained_layer, tap_embedding
from multitask.objectives import RowObjective, Teacher
from multitask.sampling import Schedule
from multitask.trainer.progress import Progress
from multitask.trainer.record import TrainRecord
from multitask.work import WorkSource

_OTHER_ROWS = "give the run another name, or start over with --restart"


class Run:
    """A run inside one worker."""

    def __init__(
        self, config: RunConfig, session: Session, folder: RunFolder, tables: Tables, watch: Stopwatch
    ) -> None:
        self.config, self.session, self.folder, self.tables, self.watch = config, session, folder, tables, watch
        self.source = WorkSource(
            config, tables.train, tables.pad_id, session.rank, session.world, all_tasks=config.zero.stage == 3
        )
        schedule = self.schedule = Schedule(config, self.source.sizes())
        self.work = WorkAhead(lambda step: self.source.share(schedule.round(step)), schedule.steps, session.device)
        self.learning_rate = LearningRate(config, self.schedule)
        model = session.agreement.on_every_rank(lambda: build_model(config, session.device))
        balance_classes(model, tables.train)
        bregman = config.regularization.bregman
        self.teacher = Teacher(model, bregman, self.schedule.steps) if bregman else None
        table = next(iter(tables.train.values()))
        self.combination = build_combination(config, Setting(self.source.used_rows(), schedule.steps, config.seed))
        batch = collate(table, range(min(4, table.rows)), tables.pad_id).to(session.device)
        tap = tap_embedding(model, batch)
        self.figures = DeviceFigures(config, session.device, model, tables, watch)
        self.engine: Engine = start_engine(model, config, session.device)
        session.agreement.on_every_rank(lambda: compile_layers(model.encoder, config))
        objective = RowObjective(config, self.engine.model, self.teacher, lambda: watch("regularization"))
        block = block_size(session.agreement.hosts()) if config.cluster.host_first else None
        self.step = MultitaskStep(self.engine, self.combination, config, tap, objective, watch, block)
        self.looks = Looks(self.step, config.training, self.schedule)
        self.progress, self.history, self.resumed_step = Progress(), History(), 0
        every = AutoSave(session) if config.training.save_every == "auto" else None
        self.saver = Saver(folder, StoreAgreement(config.cluster.collective_timeout), watch, session.device, every)
        self.stop = StopRequest(self._stop_reason, session.agreement)

    def restore(self) -> None:
        """Go on from the newest whole checkpoint, if there is one.

        Raises:
            UserError: the rows are not those that it was trained on.
        """
        storage, agreement = self.folder.storage, self.session.agreement
        found = search_checkpoint(storage, agreement, self.session.rank, self.session.world)
        self.saver.damaged = set(found.problems)
        self.folder.notes += [f"{name}: {problem}" for name, problem in found.problems.items()]
        if (newest := found.folder) is None:
            return
        with self.watch("save"):
            state = agreement.from_rank_zero(lambda: read_state(storage, newest))
            check_same_rows(self.config, state["data"], self.tables.hashes(), _OTHER_ROWS)
            restore_engine(storage, found, self.engine)
            if self.teacher:
                self.teacher.load_state_dict(read_tensors(storage, newest))
        kept = {name: torch.tensor(value, dtype=torch.float64) for name, value in state["combination"].items()}
        self.combination.load_state_dict(kept)
        self.step.loss_scale.load_state_dict(state.get("loss_scale", {}))
        self.progress = Progress.from_dict(state["progress"])
        self.resumed_step = self.saver.saved_step = self.progress.step
        if self.session.rank == 0:
            self.history = History.restore(self.folder, self.progress, self._phase_after)

    def train(self) -> Outcome:
        """Train to the end, and give the outcome, the same on every rank."""
        record, progress = TrainRecord(), self.progress
        if self.config.training.evaluate_before and progress.step == 0:
            progress.baseline = self._evaluate().scores
            metrics = self.position() | progress.baseline
            self._remember(metrics)
            self.session.report(metrics)
        self.engine.deepspeed.train()
        record.restart_clock()
        while progress.step < self.schedule.steps and not progress.stops_early(self.config.training):
            if reason := self.stop.due(progress.step):
                problem = self.looks.look(progress, record)
                return self._end("failed", problem) if problem else self._end_early(reason)
            self.train_step(record)
            if problem := self.looks.problem(progress, record, saves=self.saver.is_due(progress.step)):
                return self._end("failed", problem)
            self._after_step(record)
        return self._end("stopped" if progress.step < self.schedule.steps else "finished", None)

    def train_step(self, record: TrainRecord) -> None:
        """One optimizer step, without anything that follows it."""
        progress = self.progress
        HERE.move(step=progress.step + 1)
        with self.watch("data"):
            work = self.work.of(progress.step)
        lr = self.learning_rate.at(progress.step)
        lowest = lowest_trained_layer(
            self.config,
            self.engine.model.number_of_layers,
            work.round.phase,
            self.schedule.epoch_in_phase(progress.step),
        )
        applied = self.looks.run(work, lr, lowest, progress, record)
        if self.teacher and applied:
            with self.watch("regularization"), self.engine.whole_weights():
                self.teacher.follow(self.engine.model, progress.step - 1)

    def _after_step(self, record: TrainRecord) -> None:
        """Report, evaluate and save where the step count says so."""
        step, training = self.progress.step, self.config.training
        evaluates = self.schedule.evaluates_after(step)
        metrics, found, best = {}, None, False
        if evaluates or step % training.log_every == 0:
            metrics = self.position() | self.figures.beside(record.take(self.progress))
        if evaluates:
            found = self._evaluate()
            best = self.progress.evaluated(self.schedule.epochs_done(step), found.scores, training.selection)
            metrics |= {**found.scores, "dev/best": best, "train/evaluations": len(self.progress.history)}
        if metrics:
            self._remember(metrics)
        if evaluates or training.saves_after(step) or self.saver.is_due(step):
            spent = self.watch.seconds["save"]
            self._save(found if best else None)
            if evaluates and self.session.acts_on_scores:
                self.saver.wait()
            if metrics:
                metrics["throughput/checkpoint_s"] = self.watch.seconds["save"] - spent
        if metrics:
            self.session.report(metrics)
        if evaluates:
            record.restart_clock()

    def _end(self, status: Ending, error: str | None) -> Outcome:
        """Write the result, export the best checkpoint, and say how it went.

        The result comes first: a run whose export fails is finished none the less.
        """
        self.saver.wait()
        if error is None and (error := self.progress.diverged_problem(self.config.training.selection)):
            status = "failed"
        files = {"run folder": self.folder.location}
        self._write_result(status, error, files)
        best = self.progress.best_step
        if best is not None and status != "failed":
            tables = self.session.agreement.from_rank_zero(lambda: best_tables(self.folder, best))
            self.session.report(self.position() | {"tables": tables})
            if self.config.cluster.export:
                with self.watch("save"):
                    files |= self.session.agreement.from_rank_zero(lambda: export_best(self.folder, best))
        self._write_result(status, error, files)
        result = self.folder.storage.place("result.json")
        return run_outcome(self.summary(), status, error, files | {"result": result})

    def _end_early(self, reason: str) -> Outcome:
        """Save what was trained, for the next start. All ranks stay to the end: their store goes with rank 0."""
        step = self.progress.step
        if step != self.saver.saved_step:
            self._save()
        self.saver.wait()
        if reason in RESTARTS:
            self.session.agreement.gather(None)
            raise RestartRequestedError(reason)
        self.folder.notes.append(f"{reason} after step {step}, which is saved: the same command goes on from there")
        files = {"run folder": self.folder.location}
        self.session.agreement.from_rank_zero(lambda: self._write_result("interrupted", None, files))
        return run_outcome(self.summary(), "interrupted", None, files)

    def _write_result(self, status: Ending | Literal["running"], error: str | None, files: Mapping[str, str]) -> None:
        if self.session.rank == 0:
            self.folder.write_result(result_values(self.summary(), status) | {"error": error, "files": dict(files)})

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
            notes=tuple(self.folder.notes),
            progress=self.progress,
            seconds={part: round(value, 3) for part, value in self.watch.seconds.items()},
        )

    def _remember(self, metrics: dict[str, Any]) -> None:
        if self.session.rank == 0:
            self.history.add(metrics)

    def _evaluate(self) -> DevEvaluation:
        with self.watch("evaluate"):
            return evaluate_dev(self.engine.model, self.config, self.tables, self.session.device)

    def _stop_reason(self) -> str | None:
        return NOT_WRITTEN if self.saver.has_failed else self.session.stop_reason()

    def _save(self, best: DevEvaluation | None = None) -> None:
        """Begin to write a checkpoint, once the one before is written. `best`: the evaluation of this step, if it is the best."""
        summary, step = self.summary(), self.progress.step
        scale = self.step.loss_scale.state_dict()
        state = checkpoint_state(summary, self.folder.run_id, self.combination.state_dict(), scale)
        tensors = self.teacher.state_dict() if self.teacher else {}
        beside = files_of_best(step, best) if best and self.session.rank == 0 else {}
        files = run_files(self.folder, beside, self.history, result_values(summary, "running"))
        take = partial(take_snapshot, self.engine, step, state, tensors, beside=beside)
        self.saver.save(take, files, self.progress.best_step)

    def position(self) -> dict[str, Any]:
        """Step, epoch and phase of the last step done."""
        step = self.progress.step
        return {"step": step, "epoch": self.schedule.epochs_done(step), "phase": self._phase_after(step)}

    def _phase_after(self, step: int) -> int:
        return self.schedule.phase_of(max(0, step - 1))
