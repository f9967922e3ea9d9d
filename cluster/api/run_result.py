"""A run as Python sees it: what it reached, its history, and what can be made of it."""

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.storage.run_folder import RunFolder
from cluster.storage.storage import Storage
from cluster.training.history import FILE
from cluster.training.observer import Outcome
from multitask.config import RunConfig

if TYPE_CHECKING:
    import pandas as pd

    from multitask.export import Predictor


@dataclass(frozen=True)
class RunHistory:
    """What was reported of a run, one row for each report: `step`, `epoch`, `phase`, and a column for each metric.

    `train`: losses, weights, cosines and throughput between two records. `dev`: the dev scores of each evaluation.
    """

    train: "pd.DataFrame"
    dev: "pd.DataFrame"


@dataclass(frozen=True)
class RunResult:
    """A run as it stands, and how it ended.

    `status`: `finished`, `stopped` (out of patience, or `training.stop_after`), `interrupted` (by Ctrl-C or SIGTERM, and saved), `failed`, `running` (also where it was killed), or `not evaluated`;
    `error` says in one line why it failed. `folder`: folder or URI. `scores`: the dev scores of the best checkpoint, under
    their metric names (`dev/<task>/<metric>`, `dev/mean`); `baseline`: those before training, where they were taken.
    `best_score` is that of `training.selection`. `seconds`: part of the work to seconds; `files`: label to path or URL.
    """

    status: str
    error: str | None
    name: str
    folder: str
    config: RunConfig
    scores: dict[str, float] = field(default_factory=dict)
    baseline: dict[str, float] = field(default_factory=dict)
    best_step: int | None = None
    best_score: float | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    @cached_property
    def history(self) -> RunHistory:
        """All that was reported, read from the run's folder; empty where it holds nothing yet."""
        import pandas as pd

        found = RunFolder(Storage(self.folder)).read_json(FILE) or {}
        return RunHistory(pd.DataFrame(found.get("train", [])), pd.DataFrame(found.get("dev", [])))

    def export(self, path: str | Path | None = None, checkpoint: str | int = "best") -> str:
        """Write a checkpoint (`best`, `last` or a step) as a folder that transformers and `multitask.load` open.

        It is written to `path`, or to `export` in the run's folder; gives its place.

        Raises:
            UserError: there is no such checkpoint, or `path` holds something else.
        """
        from cluster.storage.export_checkpoint import export_run

        return export_run(self.folder, None if path is None else str(path), str(checkpoint))

    def predictor(self, device: str | None = None) -> "Predictor":
        """The model of the best checkpoint, ready to predict; exported for it where the run's own export is not it.

        Raises:
            UserError: no checkpoint was evaluated yet, or none is kept.
        """
        from cluster.api.models import open_model
        from multitask.export import load_export

        if (place := self._own_export()) is not None:
            return load_export(place, device)
        with open_model(self.folder, device) as predictor:
            return predictor

    def report(self, output: str | Path | None = None) -> Path:
        """Write the HTML page about the run to `output`, or to `report.html` in its folder; gives its path.

        Raises:
            UserError: the file cannot be written.
        """
        from cluster.report import write_report

        return write_report([self.folder], None if output is None else str(output))

    def _own_export(self) -> Path | None:
        """The export in the run's folder; None where there is none of the best checkpoint on this disk."""
        from multitask.export import DESCRIPTION

        storage = Storage(self.folder)
        if self.best_step is None or not storage.is_local or not storage.exists(f"export/{DESCRIPTION}"):
            return None
        described = json.loads(storage.read(f"export/{DESCRIPTION}"))
        return Path(storage.path("export")) if described["step"] == self.best_step else None


def load_run(path: str | Path) -> RunResult:
    """The run in the folder or URI `path`, as it stands.

    Raises:
        UserError: there is no run.
    """
    folder = RunFolder(Storage(str(path)))
    config, result = folder.config(), folder.result() or {}
    return RunResult(
        status=result.get("status", "not evaluated"),
        error=result.get("error"),
        name=config.name,
        folder=folder.location,
        config=config,
        scores=folder.best_scores(),
        baseline=result.get("baseline", {}),
        best_step=result.get("best_step"),
        best_score=result.get("best_score"),
        seconds=result.get("seconds", {}),
        files={"run folder": folder.location, **result.get("files", {})},
    )


def result_of(config: RunConfig, outcome: Outcome) -> RunResult:
    """What the run of `config` came to."""
    values: dict[str, Any] = {"scores": outcome.dev, "baseline": outcome.baseline_dev, "seconds": outcome.seconds}
    return RunResult(
        status=outcome.status,
        error=outcome.error,
        name=config.name,
        folder=RunFolder.of(config).location,
        config=config,
        best_step=outcome.best_step,
        best_score=outcome.best_score,
        files=outcome.files,
        **values,
    )
