"""What is told of a run: at its start, in `result.json`, and at its end."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from cluster.storage.export_checkpoint import export_checkpoint
from cluster.storage.run_folder import RunFolder
from cluster.training.observer import Outcome, RunInfo, one_line
from multitask.config import RunConfig
from multitask.data import Tables
from multitask.export.versions import installed_versions
from multitask.trainer.progress import Progress

# Parts of the seconds in which nothing is trained.
_BESIDE_TRAINING = ("start", "evaluate", "save")
Ending = Literal["finished", "stopped", "interrupted", "failed"]


@dataclass(frozen=True)
class RunSummary:
    """A run as it stands.

    `location`: folder or URI; `steps`: of the whole run; `notes`: what was wrong with newer checkpoints than that of step
    `resumed_step` and with other files; `seconds`: by part.
    """

    config: RunConfig
    location: str
    tables: Tables
    workers: int
    device: str
    steps: int
    resumed_step: int
    notes: tuple[str, ...]
    progress: Progress
    seconds: Mapping[str, float]

    @property
    def tokens_per_s(self) -> float | None:
        """Tokens a second of training; None for a run that was resumed, whose earlier seconds are not known."""
        training = sum(value for part, value in self.seconds.items() if part not in _BESIDE_TRAINING)
        return self.progress.tokens / training if training and not self.resumed_step else None


def run_info(summary: RunSummary, run_id: str) -> RunInfo:
    """What is known at the start."""
    tables, config = summary.tables, summary.config
    tasks = {
        name: {
            "train_rows": tables.train[name].rows,
            "dev_rows": tables.dev[name].rows if task.is_scored else 0,
            "cut_rows": tables.train[name].metadata["truncated"],
            "kind": task.kind.name,
            "metric": task.selection_metric if task.is_scored else "",
        }
        for name, task in config.tasks.items()
    }
    return RunInfo(
        run_id=run_id,
        name=config.name,
        folder=summary.location,
        config=config.to_public(),
        workers=summary.workers,
        device=summary.device,
        total_steps=summary.steps,
        tasks=tasks,
        data_hashes=tables.hashes(),
        resumed_step=summary.resumed_step,
        versions=installed_versions(),
        notes=list(summary.notes),
    )


def result_values(summary: RunSummary, status: Ending | Literal["running"]) -> dict[str, Any]:
    """What `result.json` says."""
    return {
        "status": status,
        "steps": summary.steps,
        "resumed_step": summary.resumed_step,
        "notes": list(summary.notes),
        "selection": summary.config.training.selection,
        **summary.progress.to_dict(),
        "workers": summary.workers,
        "data_hashes": summary.tables.hashes(),
        "train_rows": {
            task: min(table.rows, summary.config.tasks[task].train_rows or table.rows)
            for task, table in summary.tables.train.items()
        },
        "trajectory": summary.config.trajectory_hash(),
        "seconds": dict(summary.seconds),
        "tokens_per_s": summary.tokens_per_s,
    }


def checkpoint_state(
    summary: RunSummary, run_id: str, combination: Mapping[str, Tensor], loss_scale: Mapping[str, float]
) -> dict[str, Any]:
    """What a checkpoint says of the run beside its big tensors; `combination`, `loss_scale`: the states of
    these.
    """
    return {
        "run_id": run_id,
        "config": summary.config.to_public(),
        "trajectory": summary.config.trajectory_hash(),
        "data": summary.tables.hashes(),
        "world": summary.workers,
        "zero": summary.config.zero.stage,
        "progress": summary.progress.to_dict(),
        "combination": {name: value.tolist() for name, value in combination.items()},
        "loss_scale": dict(loss_scale),
    }


def run_outcome(summary: RunSummary, status: Ending, error: str | None, files: Mapping[str, str]) -> Outcome:
    """How the run ended; `files`: label to what it left behind."""
    progress = summary.progress
    return Outcome(
        status=status,
        error=error,
        best_step=progress.best_step,
        best_score=progress.best_score,
        selection=summary.config.training.selection,
        dev=progress.best_scores(),
        baseline_dev=progress.baseline,
        seconds=dict(summary.seconds),
        tokens_per_s=summary.tokens_per_s,
        files=dict(files),
        notes=list(summary.notes),
    )


def export_best(folder: RunFolder, step: int) -> dict[str, str]:
    """Export the checkpoint of `step`; label to place of both, or a note where it cannot be written: that can be done later."""
    try:
        checkpoint, export = export_checkpoint(folder, step)
    except Exception as error:
        again = f"`concord export {folder.location}` does it later"
        folder.notes.append(f"the best checkpoint was not exported: {one_line(error)}; {again}")
        return {}
    return {"best checkpoint": checkpoint, "export": export}
