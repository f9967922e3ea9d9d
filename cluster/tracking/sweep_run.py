"""The W&B run of a sweep itself: its trials as a table, what mattered, its report; and the tag on the winner's runs."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.analysis.importance import importances
from cluster.analysis.ranking import rank
from cluster.storage.storage import Storage
from cluster.sweeps.records import Sweep
from cluster.sweeps.store import SweepStore
from cluster.tracking.login import TIMEOUT_S, Mode
from cluster.tracking.mirror import WANDB, Mirror
from cluster.tracking.run_settings import run_settings
from cluster.training.observer import one_line
from multitask.config import RunConfig
from multitask.errors import UserError
from multitask.redaction import without_secrets

if TYPE_CHECKING:
    import pandas as pd

WINNER = "winner"
TAGGED = f"{WANDB}/winner.json"


def track_sweep(store: SweepStore, sweep: Sweep, trials: "pd.DataFrame", page: str, mode: Mode) -> None:
    """Record the sweep as it stands in its own W&B run, the same one each time, and tag the winner's runs where W&B is online.

    `trials`: a row for each; `page`: the report as HTML. W&B's failure is one line on stderr: the sweep has ended well.
    """
    try:
        _record(sweep, trials, page, mode)
        if mode == "online":
            tag_winner(store, sweep)
    except Exception as error:
        print(f"W&B: the run of sweep {sweep.name} was not recorded: {one_line(error)}", file=sys.stderr)


def _record(sweep: Sweep, trials: "pd.DataFrame", page: str, mode: Mode) -> None:
    import wandb

    mirror = Mirror(sweep.location) if "://" in sweep.location else None
    folder = Path(sweep.location) if mirror is None else mirror.folder
    (folder / WANDB).mkdir(parents=True, exist_ok=True)
    tracking = RunConfig.model_validate(sweep.base).tracking
    run = wandb.init(
        project=tracking.project,
        entity=tracking.entity,
        group=sweep.group,
        job_type="sweep",
        tags=tracking.tags,
        id=sweep.group,
        name=sweep.name,
        dir=str(folder),
        config=without_secrets({"recipe": sweep.recipe, "space": sweep.space, "options": sweep.options.to_dict()}),
        resume="allow",
        reinit="create_new",
        mode="online" if mode == "online" else "offline",
        settings=run_settings(),
    )
    matters = importances(sweep, sweep.options.selection).values
    table = wandb.Table(columns=["parameter", "share"], data=[[name, share] for name, share in matters.items()])
    run.log(
        {
            "trials": wandb.Table(dataframe=trials.astype(object).where(trials.notna(), None), allow_mixed_types=True),
            "importance": wandb.plot.bar(table, "parameter", "share", "share of the score's variance"),
            "report": wandb.Html(page, inject=False),
        }
    )
    run.summary.update({"status": sweep.status, "trials": len(sweep.trials), **_best(sweep)})
    run.finish()
    # As with a run: an offline one is written when W&B's own process ends.
    if wandb.run is None:
        wandb.teardown()
    if mirror is not None:
        mirror.copy()
        mirror.close()


def _best(sweep: Sweep) -> dict[str, Any]:
    runs, score = winning_runs(sweep)
    return {"winner": runs[0], "best": score} if runs else {}


def winning_runs(sweep: Sweep) -> tuple[list[str], float]:
    """The runs of the winner's seeds and its score, as the sweep's own metric says; none where nothing has a score."""
    try:
        winner = rank(sweep, by=sweep.options.selection).winner
    except UserError:
        return [], 0.0
    return [scored.run for scored in winner.configuration.scored_trials], winner.score


def tag_winner(store: SweepStore, sweep: Sweep) -> list[str]:
    """Give the winner's runs on W&B's server the tag `winner`, and take it from those that had it before; gives their names.

    Raises:
        Exception: the server cannot be reached or does not know them, as W&B's library says it.
    """
    import wandb

    api, tracking = wandb.Api(timeout=TIMEOUT_S), RunConfig.model_validate(sweep.base).tracking
    entity = tracking.entity or api.default_entity
    runs = winning_runs(sweep)[0]
    now = [run_id for run in runs if (run_id := _run_id(store, run)) is not None]
    before = _tagged(store.storage)
    for run_id in sorted({*now, *before}):
        run: Any = api.run(f"{entity}/{tracking.project}/{run_id}")
        tags = [tag for tag in run.tags if tag != WINNER] + ([WINNER] if run_id in now else [])
        if tags != list(run.tags):
            run.tags = tags
            run.update()
    store.storage.write(TAGGED, json.dumps(now).encode())
    return runs


def _run_id(store: SweepStore, run: str) -> str | None:
    known = store.run(run).read_json("run.json")
    return None if known is None else known["run_id"]


def _tagged(storage: Storage) -> list[str]:
    if not storage.exists(TAGGED):
        return []
    known: list[str] = json.loads(storage.read(TAGGED))
    return known
