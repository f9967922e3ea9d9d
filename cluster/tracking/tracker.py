"""One Weights & Biases run for each training run."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from cluster.tracking.conflict_panels import ConflictPanels, plotted
from cluster.tracking.fragments import find_fragments, lost_rows, mark_sent, recorded_steps, unwritten_rows
from cluster.tracking.login import Mode, announce_mode, check_key, decide_mode, why_not_online
from cluster.tracking.mirror import Mirror
from cluster.tracking.model_artifact import model_artifact
from cluster.tracking.resume_state import ResumeState
from cluster.tracking.run_panels import tables_as_panels
from cluster.tracking.run_settings import run_settings
from cluster.tracking.tracked_config import agent_settings, tracked_config
from cluster.training.observer import Observer, Outcome, RunInfo, one_line
from multitask.config import RunConfig
from multitask.config.cluster import TrackingConfig
from multitask.redaction import without_secrets
from multitask.score_names import is_dev_score

if TYPE_CHECKING:
    import wandb

NOT_PLOTTED = ("dev/best", "tables")
STATES = {"finished": "finished", "stopped": "stopped early", "interrupted": "interrupted", "failed": "failed"}


class WandbTracker:
    """Sends a run to Weights & Biases, in whatever process it is started; picklable until then.

    W&B being slow, broken or unreachable never stops training: what cannot be sent online is recorded offline, what cannot be
    recorded is left out, with one line on stderr in all.

    Steps: W&B ignores rows whose step is not above that of the last row, and an offline run that goes on in a new process
    counts from 0 again. So the training step is a metric of its own, `step`, which all curves are drawn over, and the row
    number is the step or the next free number, whichever is higher; the latter is kept in a file beside the run, with the
    best dev scores, which the summary holds as `<metric>.max`. Steps that are trained again are not recorded again.

    A run that a W&B agent started takes the agent's id, also where it is tracked in another process than the tracker was made in.
    """

    def __init__(self, tracking: TrackingConfig, mode: Mode | None = None) -> None:
        """`mode`: as `decide_mode` gives it; it decides itself if not given."""
        self.files: dict[str, str] = {}
        self._tracking, self._mode = tracking, mode or decide_mode(tracking.mode)
        self._agent = agent_settings() if tracking.job_type == "train" else {}
        self._run: wandb.Run | None = None
        self._mirror: Mirror | None = None
        self._folder = Path()
        self._resume_state = ResumeState(None, "")
        self._conflicts = ConflictPanels()
        self._started = False
        self._warned = False

    def check(self) -> None:
        """Raises:
        UserError: the run is to be tracked online, and this host has no key.
        """
        if self._mode == "online":
            check_key()

    def start(self, run: RunInfo) -> None:
        """Begin the W&B run; nothing on a restart, which goes on in the same one."""
        if self._started:
            return
        self._started = True
        self._guard(lambda: self._start(run))

    def report(self, metrics: dict[str, Any]) -> None:
        """Send one row."""
        if self._run is not None:
            self._guard(lambda: self._report(metrics))
            if self._mirror is not None:
                self._guard(self._mirror.copy_now_and_then)

    def finish(self, outcome: Outcome) -> None:
        """Send the outcome and the exported model, and end the W&B run: exit code 1 where it failed, else 0.

        A model at a URI is named in the summary and not sent.
        """
        if self._run is not None:
            self._guard(self._log_conflicts)
            self._guard(lambda: self._summarise(outcome))
            export = outcome.files.get("export", "")
            if self._tracking.log_model and export and "://" not in export:
                self.log_model(export, self._run.name or self._run.id, ("best",))
            self._guard(lambda: self._finish(1 if outcome.status == "failed" else 0))
        if self._mirror is not None:
            self._guard(self._mirror.copy)
            self._mirror.close()

    def log_model(self, path: str, name: str, aliases: tuple[str, ...]) -> None:
        """Send a folder as a model artifact, without a copy: its files must stay until they are uploaded."""
        if self._run is not None:
            self._guard(lambda: self._log_model(Path(path), name, aliases))

    def _start(self, run: RunInfo) -> None:
        if self._mode == "disabled":
            return
        if "://" in run.folder:
            self._mirror = Mirror(run.folder)
            self._mirror.fetch()
        self._folder = self._mirror.folder if self._mirror else Path(run.folder)
        self._run = self._init(self._arguments(run), "online" if self._mode == "online" else "offline")
        if self._run.resumed and self._resume_state.next_row == 0:
            self._resume_state.recall(dict(cast(Any, self._run.summary)))
        self._resume_state.next_row = max(self._run.step, self._resume_state.next_row)
        self._resume_state.keep()
        self._define_metrics(self._run)
        place = Path(self._run.dir).parent
        kept = f"{run.folder}/wandb/{place.name}" if self._mirror else str(place)
        self.files["W&B"] = kept if self._run.offline else self._run.url or ""
        if self._resume_state.continued:
            self._send_lost_rows(self._run, run.resumed_step)

    def _define_metrics(self, run: "wandb.Run") -> None:
        run.define_metric("step")
        for group in ("train/*", "combination/*", "throughput/*"):
            run.define_metric(group, step_metric="step")
        for group in ("dev/*", "dev_*"):
            run.define_metric(group, step_metric="step", summary="none" if self._agent else "max,last")
        run.summary.update({"state": "running", **self._best_scores()})

    def _best_scores(self) -> dict[str, Any]:
        """The dev scores of the summary; a W&B sweep wants plain numbers to search by, and is given the best ones."""
        if self._agent:
            return {key: own["max"] for key, own in self._resume_state.scores.items()}
        return dict(self._resume_state.scores)

    def _send_lost_rows(self, run: "wandb.Run", resumed_step: int) -> None:
        """Send what an earlier process of this run had not yet sent, or not even written, when it was killed."""
        unwritten = unwritten_rows(self._folder, run.id, resumed_step)
        # What a killed process had sent may not have been written: the files say what is there.
        if (recorded := recorded_steps(self._folder, run.id)) is not None:
            self._resume_state.steps = recorded
        for fragment in find_fragments(self._folder) if run.resumed else ():
            if fragment.run_id == run.id and fragment.state != "live" and fragment.waits and not fragment.offline:
                for row in lost_rows(fragment, run.step):
                    number = row["_step"]
                    run.log({key: value for key, value in row.items() if key[0] != "_"}, step=number, commit=True)
                mark_sent(fragment)
        for row in unwritten:
            self._report(row)

    def _init(self, arguments: dict[str, Any], mode: Literal["online", "offline"]) -> "wandb.Run":
        """Start the W&B run, offline if online fails."""
        import wandb

        try:
            return wandb.init(**arguments, mode=mode)
        except Exception as error:
            if mode == "offline":
                raise
            # wandb-core still holds the run id; only its end sets it free.
            wandb.teardown(exit_code=1)
            offline = wandb.init(**arguments, mode="offline")
            self._warn(why_not_online(error), "recording offline; `concord wandb sync` sends it later")
            return offline

    def _arguments(self, run: RunInfo) -> dict[str, Any]:
        # W&B's own reports of what went wrong would go out, and say on stderr when they cannot.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        (self._folder / "wandb").mkdir(parents=True, exist_ok=True)
        self._resume_state = ResumeState(self._folder / "wandb" / f"{run.run_id}.json", run.run_id)
        self._resume_state.wandb_id = self._agent.get("run_id", self._resume_state.wandb_id)
        return {
            "project": self._agent.get("project", self._tracking.project),
            "entity": self._agent.get("entity", self._tracking.entity),
            "group": self._tracking.group,
            "tags": self._tracking.tags,
            "id": self._resume_state.wandb_id,
            "name": run.name,
            "job_type": self._tracking.job_type,
            "dir": str(self._folder),
            "config": without_secrets(tracked_config(run, self._tracking.extra)),
            "resume": "allow",
            "reinit": "create_new",
            "settings": run_settings(self._agent.get("sweep_id")),
        }

    def _report(self, metrics: dict[str, Any]) -> None:
        assert self._run is not None
        row = {key: value for key, value in plotted(metrics).items() if key not in NOT_PLOTTED}
        if self._resume_state.has(row):
            return
        row |= tables_as_panels(metrics.get("tables", {}))
        self._conflicts.take(metrics)
        number = max(metrics["step"], self._resume_state.next_row)
        # Without commit the row stays open in memory until the next one, and a kill would lose it.
        self._run.log(row, step=number, commit=True)
        self._resume_state.take(number, row)
        if (self._resume_state.continued or self._agent) and any(is_dev_score(key) for key in row):
            self._run.summary.update(self._best_scores())

    def _log_conflicts(self) -> None:
        assert self._run is not None
        if panels := self._conflicts.panels():
            number = self._resume_state.next_row
            self._run.log(panels, step=number, commit=True)
            self._resume_state.take(number, {})

    def _summarise(self, outcome: Outcome) -> None:
        assert self._run is not None
        summary: dict[str, Any] = {"status": outcome.status, "selection": outcome.selection}
        summary["state"] = STATES[outcome.status]
        if outcome.error is not None:
            summary["reason"] = outcome.error
        for key in ("error", "best_step", "best_score", "tokens_per_s"):
            if (value := getattr(outcome, key)) is not None:
                summary[key] = value
        summary |= {f"before/{key.removeprefix('dev/')}": score for key, score in outcome.baseline_dev.items()}
        summary |= {f"after/{key.removeprefix('dev/')}": score for key, score in outcome.dev.items()}
        summary |= {f"seconds/{part}": seconds for part, seconds in outcome.seconds.items()}
        summary |= {f"files/{label}": path for label, path in outcome.files.items()}
        self._run.summary.update(without_secrets(summary))

    def _log_model(self, path: Path, name: str, aliases: tuple[str, ...]) -> None:
        assert self._run is not None
        if not path.is_dir():
            raise FileNotFoundError(f"{path} is no folder that could be sent as a model")
        self._run.log_artifact(model_artifact(name, path), aliases=list(aliases))

    def _finish(self, exit_code: int) -> None:
        import wandb

        assert self._run is not None
        run, self._run = self._run, None
        run.finish(exit_code=exit_code)
        # An offline run's `finish` returns before its file is written, and wandb-core dies with this process.
        if wandb.run is None:
            wandb.teardown(exit_code=exit_code)

    def _guard(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:
            self._warn(one_line(error), "the run goes on without it")

    def _warn(self, problem: str, consequence: str) -> None:
        if not self._warned:
            self._warned = True
            print(f"W&B: {problem}; {consequence}", file=sys.stderr)


def trackers(config: RunConfig, mode: Mode | None = None) -> list[Observer]:
    """What tracks the run of `config` beside its training, in `mode`, or as it is decided and said here."""
    return [WandbTracker(config.tracking, mode or announce_mode(config.tracking.mode))]
