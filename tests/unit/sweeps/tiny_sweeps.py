"""Ledgers of tiny sweeps without Ray."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from cluster.storage.storage import Storage
from cluster.sweeps.create import create_sweep
from cluster.sweeps.records import Options, Trial
from cluster.sweeps.search import open_search
from cluster.sweeps.store import SweepStore
from cluster.sweeps.trials import TrialLedger, open_ledger
from multitask.data import Tables
from tests.builders import tiny_config
from tests.integration.commands import write_recipe

ROWS = {"sst": 600, "quora": 600, "sts": 500}
TABLES = cast(Tables, SimpleNamespace(train={task: SimpleNamespace(rows=rows) for task, rows in ROWS.items()}))


def open_tiny(folder: Path, space: str = "default", changes: tuple[str, ...] = (), **options: Any) -> TrialLedger:
    """The ledger of a sweep called `s` in `folder`, begun or gone on with, as a driver opens it."""
    folder.mkdir(exist_ok=True)
    recipe = write_recipe(folder / "tiny.yaml", tiny_config(folder))
    search = open_search(str(recipe), list(changes), space)
    place = SweepStore(Storage(str(folder / "s")))
    given = Options(**({"trials": 6} | options))
    sweep = place.read() if place.exists() else create_sweep(search, "s", given, place)
    return open_ledger(place, sweep, search, TABLES, {"board": []})


def reported(ledger: TrialLedger, trial: Trial, *scores: float, sst: float = 0.5) -> Trial:
    """`trial` after evaluations with these mean dev scores."""
    for score in scores:
        number = ledger.trial(trial.run).iteration + 1
        values = {"train/evaluations": number, "step": 10 * number, "train/rows": 100 * number}
        values |= {"train/tokens": 1000 * number, "dev/mean": score, "dev/sst/accuracy": sst}
        trial = ledger.report(trial.run, values)
    return trial
