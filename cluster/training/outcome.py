"""What is told of a run: at its start, in `result.json`, and at its end."""

from typing import TYPE_CHECKING, Any

from cluster.storage.export_checkpoint import export_checkpoint
from cluster.training.agreement import from_rank_zero
from cluster.training.observer import Outcome, RunInfo
from multitask.export.versions import installed_versions

if TYPE_CHECKING:
    from cluster.training.loop import Run


def run_info(run: "Run", run_id: str) -> RunInfo:
    """What is known at the start."""
    tasks = {
        task: {
            "train_rows": run.tables.train[task].rows,
            "dev_rows": run.tables.dev[task].rows if own.is_scored else 0,
            "cut_rows": run.tables.train[task].metadata["truncated"],
            "kind": own.kind.name,
            "metric": own.selection_metric if own.is_scored else "",
        }
        for task, own in run.config.tasks.items()
    }
    return RunInfo(
        run_id=run_id,
        name=run.config.name,
        folder=run.folder.location,
        config=run.config.to_dict(),
        workers=run.session.world,
        device=run.session.device.type,
        total_steps=run.schedule.steps,
        tasks=tasks,
        data_hashes=run.tables.hashes(),
        resumed_step=run.resumed_step,
        versions=installed_versions(),
    )


def result_values(run: "Run", status: str) -> dict[str, Any]:
    """What `result.json` says."""
    seconds = {part: round(value, 3) for part, value in run.watch.seconds.items()}
    training = sum(v for k, v in seconds.items() if k not in ("start", "evaluate", "save"))
    return {
        "status": status,
        "steps": run.schedule.steps,
        "resumed_step": run.resumed_step,
        "notes": run.notes,
        "selection": run.config.training.selection,
        **run.progress.to_dict(),
        "workers": run.session.world,
        "data_hashes": run.tables.hashes(),
        "trajectory": run.config.trajectory_hash(),
        "seconds": seconds,
        "tokens_per_s": (run.progress.tokens / training) if training and not run.resumed_step else None,
    }


def end_run(run: "Run", status: str, error: str | None) -> Outcome:
    """Export the best checkpoint, write the result, and say how it went."""
    files = {"run folder": run.folder.location}
    if run.progress.best_step is not None and status != "failed":
        if run.config.cluster.export:
            with run.watch("save"):
                files |= from_rank_zero(lambda: _export(run))
        tables = run.folder.read_json("best_tables.json") if run.session.rank == 0 else {}
        run.session.report(run.position() | {"tables": from_rank_zero(lambda: tables)})
    result = result_values(run, status)
    if run.session.rank == 0:
        run.folder.write_result(result | {"error": error, "files": files})
    return Outcome(
        status=status,  # type: ignore[arg-type]
        error=error,
        best_step=run.progress.best_step,
        best_score=run.progress.best_score,
        selection=run.config.training.selection,
        dev=run.progress.best_scores(),
        baseline_dev=run.progress.baseline,
        seconds=result["seconds"],
        tokens_per_s=result["tokens_per_s"],
        files=files | {"result": run.folder.storage.path("result.json")},
    )


def _export(run: "Run") -> dict[str, str]:
    assert run.progress.best_step is not None
    checkpoint, export = export_checkpoint(run.folder, run.progress.best_step)
    return {"best checkpoint": checkpoint, "export": export}
