"""What was published for a run's recipe, and what the run measured."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cluster.storage.run_folder import RunFolder
from cluster.storage.storage import Storage
from multitask.config.recipe_table import used_data, used_encoder


@dataclass(frozen=True)
class Comparison:
    """One run. `published`, `measured`: task to dev score; `measured` is of the best checkpoint, empty before the first.

    `paper` and `row` are None where the run's config names no source. `encoder`, `data`: what was used, and what the paper used;
    `differs`: what the recipe does otherwise.
    """

    name: str
    run: str
    paper: str | None
    row: str | None
    encoder: str
    data: str
    differs: str
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
    tree, source = config.to_public(), config.source
    scores = {task: best.get(f"dev/{task}/{config.tasks[task].selection_metric}") for task in config.scored_tasks}
    return Comparison(
        name=config.name,
        run=folder.location,
        paper=source.paper if source else None,
        row=source.row if source else None,
        encoder=used_encoder(tree),
        data=used_data(tree, result.get("train_rows")),
        differs=source.differs if source else "",
        status=result.get("status", "not evaluated"),
        published=source.scores.get("dev", {}) if source else {},
        measured={task: score for task, score in scores.items() if score is not None},
    )
