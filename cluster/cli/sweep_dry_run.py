"""What a sweep would do: its trials, their resources and how long it takes at most. Nothing is written but the token cache."""

import tempfile
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cluster.launch.launch import available_nodes
from cluster.launch.resources import ResourcePlan
from cluster.step.stopwatch import clock
from cluster.storage.storage import Storage
from cluster.sweeps.concurrency import plan_concurrency
from cluster.sweeps.create import create_sweep
from cluster.sweeps.records import Options
from cluster.sweeps.search import Search
from cluster.sweeps.speed_probe import Speed, probe_speed
from cluster.sweeps.store import SweepStore
from cluster.sweeps.trials import TrialLedger, open_ledger
from cluster.terminal.json_output import print_json
from multitask.data import prepare_tables

# Measured from the trial's start to its first step on two CPU cores (docs/measured.md, Start-up).
START_S = 12.0


def describe_sweep(search: Search, options: Options, name: str, *, json: bool) -> None:
    """Print trials, resources and time.

    Raises:
        UserError: a trial could not be trained, or the cluster cannot hold one.
    """
    fits = plan_concurrency(search.base.cluster, available_nodes(search.base), options.concurrent)
    plan, concurrent = fits.resources, fits.trials
    tables = prepare_tables(search.base)
    with tempfile.TemporaryDirectory() as place:
        store = SweepStore(Storage(place))
        ledger = open_ledger(store, create_sweep(search, name, options, store), search, tables, {})
        while ledger.next() is not None:
            continue
        configs = {trial.run: ledger.config(trial) for trial in ledger.trials}
    speed = probe_speed(search.base, tables)
    seconds = _seconds(ledger, speed, plan.workers) / concurrent
    if json:
        trials = [trial.to_dict() | {"config": configs[trial.run].to_dict()} for trial in ledger.trials]
        resources = {"workers": plan.workers, "per_worker": plan.per_worker, "concurrent": concurrent}
        print_json({"name": name, "trials": trials, "resources": resources, "seconds": seconds})
        return
    _show(ledger, plan, concurrent, seconds, options)


def _seconds(ledger: TrialLedger, speed: Speed, workers: int) -> float:
    """Of all trials one after the other."""
    return sum(
        START_S + (trial.planned_rows * speed.row + trial.planned_iterations * speed.evaluation) / workers
        for trial in ledger.trials
    )


def _show(ledger: TrialLedger, plan: ResourcePlan, concurrent: int, seconds: float, options: Options) -> None:
    console = Console()
    table = Table("trial", "rows", "evals", "what", box=None, padding=(0, 2, 0, 0))
    for trial in ledger.trials:
        what = {"recipe": "the recipe itself", "baseline": "alone: "}.get(trial.role, "")
        changes = " ".join(f"{key}={_text(value)}" for key, value in trial.sample.items())
        shown = what if trial.role == "recipe" else f"{what}{changes}"
        table.add_row(trial.run, f"{trial.planned_rows:,}", str(trial.planned_iterations), Text(shown))
    console.print(table)
    if options.search in ("optuna", "nsga2"):
        console.print("Later configurations will depend on the results of earlier ones.")
    console.print(f"trials       {len(ledger.trials)}, {concurrent} at a time; all configs are valid", highlight=False)
    console.print(f"each         {plan.describe()}", highlight=False)
    bound = "at most about" if options.scheduler in ("asha", "median") else "about"
    console.print(f"time         {bound} {clock(seconds)}, by a probe of a few steps", highlight=False)


def _text(value: Any) -> str:
    return (
        f"{value:.4g}"
        if isinstance(value, float)
        else str(yaml.safe_dump(value, default_flow_style=True).split("\n")[0])
    )
