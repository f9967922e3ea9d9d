"""One Weights & Biases run for each training run."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cluster.observers.observer import Outcome, RunInfo, one_line
from cluster.observers.panels import confusion_chart, error_table
from cluster.observers.redact import without_secrets
from cluster.observers.wandb_mode import choose_mode
from multitask.config.cluster import TrackingConfig

if TYPE_CHECKING:
    import wandb

INIT_TIMEOUT_S = 30.0
FINISH_TIMEOUT_S = 300.0
NOT_PLOTTED = ("dev/best", "tables")


class WandbTracker:
    """Sends a run to Weights & Biases, in whatever process it is started; picklable until then.

    W&B being slow, broken or unreachable never stops training: what cannot be sent online is recorded offline, what cannot be
    recorded is left out, with one line on stderr in all.

    Steps: W&B ignores rows whose step is not above that of the last row, and an offline run that goes on in a new process
    counts from 0 again. So the training step is a metric of its own, `step`, which all curves are drawn over, and the row
    number is the step or the next free number, whichever is higher; the latter is kept in a file beside the run.
    """

    def __init__(self, tracking: TrackingConfig) -> None:
        self.files: dict[str, str] = {}
        self._tracking = tracking
        self._run: wandb.Run | None = None
        self._next_row = 0
        self._row_file: Path | None = None
        self._started = False
        self._warned = False

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

    def finish(self, outcome: Outcome) -> None:
        """Send the outcome and the exported model, and end the W&B run: exit code 1 after an error, else 0.

        A model at a URI is named in the summary and not sent.
        """
        if self._run is not None:
            self._guard(lambda: self._summarise(outcome))
            export = outcome.files.get("export", "")
            if self._tracking.log_model and export and "://" not in export:
                self.log_model(export, self._run.name or self._run.id, ("best",))
            self._guard(lambda: self._finish(1 if outcome.status == "failed" or outcome.error else 0))

    def log_model(self, path: str, name: str, aliases: tuple[str, ...]) -> None:
        """Send a folder as a model artifact, without a copy: its files must stay until they are uploaded."""
        if self._run is not None:
            self._guard(lambda: self._log_model(Path(path), name, aliases))

    def _start(self, run: RunInfo) -> None:
        mode = choose_mode(self._tracking.mode)
        if mode == "disabled":
            return
        if mode == "missing":
            self._warn("not logged in (wandb login)", "recording offline")
            mode = "offline"
        if "://" not in run.folder:
            (Path(run.folder) / "wandb").mkdir(parents=True, exist_ok=True)
            self._row_file = Path(run.folder) / "wandb" / f"{run.run_id}.next_row"
        self._run = self._init(run, mode)
        self._next_row = max(self._run.step, _read_number(self._row_file))
        self._run.define_metric("step")
        for group in ("train/*", "combination/*", "throughput/*"):
            self._run.define_metric(group, step_metric="step")
        self._run.define_metric("dev/*", step_metric="step", summary="max,last")
        self.files["W&B"] = str(Path(self._run.dir).parent) if self._run.offline else self._run.url or ""

    def _init(self, run: RunInfo, mode: Literal["online", "offline"]) -> "wandb.Run":
        """Start the W&B run, offline if online fails."""
        import wandb

        try:
            return wandb.init(**self._arguments(run), mode=mode)
        except Exception as error:
            if mode == "offline":
                raise
            # wandb-core still holds the run id; only its end sets it free.
            wandb.teardown(exit_code=1)
            offline = wandb.init(**self._arguments(run), mode="offline")
            self._warn(one_line(error), "recording offline; `wandb sync` sends it later")
            return offline

    def _arguments(self, run: RunInfo) -> dict[str, Any]:
        import wandb

        about = {"workers": run.workers, "device": run.device, "total_steps": run.total_steps, "tasks": run.tasks}
        config = run.config | {"run": about | {"folder": run.folder}}
        config |= {"data_hashes": run.data_hashes, "versions": run.versions}
        # Statistics and metadata are of this process's machine, its command line and its user: not of the workers.
        settings = wandb.Settings(
            console="off",
            silent=True,
            init_timeout=INIT_TIMEOUT_S,
            finish_timeout=FINISH_TIMEOUT_S,
            x_disable_stats=True,
            x_disable_meta=True,
            x_save_requirements=False,
            disable_git=True,
            disable_code=True,
            x_transaction_log_flush_interval=1,
        )
        return {
            "project": self._tracking.project,
            "entity": self._tracking.entity,
            "group": self._tracking.group,
            "tags": self._tracking.tags,
            "id": run.run_id,
            "name": run.name,
            "job_type": "train",
            "dir": run.folder if self._row_file else None,
            "config": without_secrets(config),
            "resume": "allow",
            "reinit": "create_new",
            "settings": settings,
        }

    def _report(self, metrics: dict[str, Any]) -> None:
        assert self._run is not None
        row = {key: value for key, value in metrics.items() if key not in NOT_PLOTTED}
        for key, table in metrics.get("tables", {}).items():
            row[key] = confusion_chart(key, table) if key.startswith("confusion/") else error_table(table)
        number = max(metrics["step"], self._next_row)
        # Without commit the row stays open in memory until the next one, and a kill would lose it.
        self._run.log(row, step=number, commit=True)
        self._next_row = number + 1
        if self._row_file:
            self._row_file.write_text(str(self._next_row))

    def _summarise(self, outcome: Outcome) -> None:
        assert self._run is not None
        summary: dict[str, Any] = {"status": outcome.status, "selection": outcome.selection}
        for key in ("error", "best_step", "best_score", "tokens_per_s"):
            if (value := getattr(outcome, key)) is not None:
                summary[key] = value
        summary |= {f"before/{key.removeprefix('dev/')}": score for key, score in outcome.baseline_dev.items()}
        summary |= {f"after/{key.removeprefix('dev/')}": score for key, score in outcome.dev.items()}
        summary |= {f"seconds/{part}": seconds for part, seconds in outcome.seconds.items()}
        summary |= {f"files/{label}": path for label, path in outcome.files.items()}
        self._run.summary.update(without_secrets(summary))

    def _log_model(self, path: Path, name: str, aliases: tuple[str, ...]) -> None:
        import wandb

        assert self._run is not None
        if not path.is_dir():
            raise FileNotFoundError(f"{path} is no folder that could be sent as a model")
        artifact = wandb.Artifact(name, type="model")
        for file in sorted(file for file in path.rglob("*") if file.is_file()):
            artifact.add_file(str(file), str(file.relative_to(path)), policy="immutable", skip_cache=True)
        self._run.log_artifact(artifact, aliases=list(aliases))

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


def _read_number(file: Path | None) -> int:
    try:
        return int(file.read_text()) if file else 0
    except (FileNotFoundError, ValueError):
        return 0
