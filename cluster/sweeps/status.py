"""How a sweep stands, read from its folder, and whether its driver is alive."""

import os
import socket
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from cluster.sweeps.records import Sweep, Trial
from cluster.sweeps.standing import standings
from cluster.sweeps.store import SweepStore

# A driver writes its heartbeat every few seconds; one that has been silent for longer is dead.
SILENCE_S = 60.0


def current_sweep(store: SweepStore) -> Sweep:
    """The sweep; `stopped` where it should be running, but its driver is dead."""
    sweep, state = store.read(), store.state()
    if sweep.status == "running":
        silent = not state or time.time() - state["heartbeat"] >= SILENCE_S
        if silent or not is_alive(state):
            return replace(sweep, status="stopped", trials=tuple(map(_waiting, sweep.trials)))
        return replace(sweep, elapsed=sweep.elapsed + time.time() - state["heartbeat"])
    return sweep


def _waiting(trial: Trial) -> Trial:
    return replace(trial, status="waiting", reason="interrupted") if trial.status == "running" else trial


def describe_status(store: SweepStore) -> dict[str, Any]:
    """The sweep in plain values; `best` is the first run of the best configuration, `best_score` the mean of its seeds."""
    sweep = current_sweep(store)
    counts = Counter(trial.status for trial in sweep.trials)
    selection = sweep.options.selection
    best = next(iter(standings(sweep.trials, selection, selection)), None)
    ended = sum(trial.has_ended for trial in sweep.trials if trial.role in ("recipe", "sample"))
    return {
        "name": sweep.name,
        "place": sweep.location,
        "recipe": sweep.recipe,
        "space": sweep.space["name"],
        "search": f"{sweep.options.search}/{sweep.options.scheduler}",
        "status": sweep.status,
        "reason": store.state().get("reason"),
        "progress": f"{ended}/{sweep.options.trials * sweep.options.repeats}",
        "elapsed": sweep.elapsed,
        "counts": dict(counts),
        "best": next(iter(best.best)) if best else None,
        "best_score": best.mean(selection) if best else None,
        "selection": selection,
        "trials": [trial.to_dict() for trial in sweep.trials],
    }


def is_alive(state: dict[str, Any]) -> bool:
    """Whether the driver that wrote `state` may be alive: on another host its heartbeat alone can tell."""
    if state["host"] != socket.gethostname():
        return True
    if _is_zombie(state["pid"]):
        return False
    try:
        os.kill(state["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _is_zombie(pid: int) -> bool:
    """Whether the process has ended, and its parent has not asked for its exit code."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False
