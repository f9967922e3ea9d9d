"""What was published for a run's recipe, and what the run measured."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cluster.storage.run_folder import RunFolder
from cluster.storage.storage import Storage


@dataclass(frozen=True)
class Comparison:
    """One run. `published`, `measured`: task to dev score; `measured` is of the best checkpoint, empty before the first.

    `paper` and `row` are None where the run's config names no source.
    """

    name: str
    run: str
    paper: str | None
    row: str | None
    encoder: str
    status: str
    published: Mapping[str, float]
    measured: Mapping[str, float]

    @property
    def origin(self) -> str:
        """Authors and row; `own` where there is no source."""
        return "own" if self.paper is None else f"{self.paper.partition(':')[0]}: {self.row}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def compare(run: str) -> Comparison:
    """Read the run folder or URI `run`.

    Raises:
        UserError: there is no run.
    """
    folder = RunFolder(Storage(run))
    config, result, best = folder.config(), folder.result() or {}, folder.best_scores()
    scores = {task: best.get(f"dev/{task}/{config.tasks[task].selection_metric}") for task in config.scored_tasks}
    return Comparison(
        name=config.name,
        run=folder.location,
        paper=config.source.paper if config.source else None,
        row=config.source.row if config.source else None,
        encoder=config.encoder.name,
        status=result.get("status", "not evaluated"),
        published=config.source.scores if config.source else {},
        measured={task: score for task, score in scores.items() if score is not None},
    )
