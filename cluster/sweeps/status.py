"""How a sweep stands, for those who look at its folder."""

import time
from collections import Counter
from dataclasses import replace
from typing import Any

from cluster.sweeps.create import SILENCE_S, is_alive
from cluster.sweeps.records import Sweep, Trial
from cluster.sweeps.store import SweepFolder


def standing(folder: SweepFolder) -> Sweep:
    """The sweep; `stopped` where it should be running, but its driver is dead."""
    sweep, state = folder.read(), folder.state()
    if sweep.status == "running":
        silent = not state or time.time() - state["heartbeat"] >= SILENCE_S
        if silent or not is_alive(state):
            return replace(sweep, status="stopped", trials=tuple(map(_waiting, sweep.trials)))
        return replace(sweep, elapsed=sweep.elapsed + time.time() - state["heartbeat"])
    return sweep


def _waiting(trial: Trial) -> Trial:
    return replace(trial, status="waiting", reason="interrupted") if trial.status == "running" else trial


def describe_state(folder: SweepFolder) -> dict[str, Any]:
    """The sweep in plain values."""
    sweep = standing(folder)
    counts = Counter(trial.status for trial in sweep.trials)
    selection = sweep.options.selection
    reached = {trial.run: own.scores[selection] for trial in sweep.trials if (own := trial.best(selection))}
    compared = {trial.run for trial in sweep.trials if trial.role in ("recipe", "sample")}
    best = max((run for run in reached if run in compared), key=lambda run: reached[run], default=None)
    ended = sum(trial.has_ended for trial in sweep.trials if trial.role in ("recipe", "sample"))
    return {
        "name": sweep.name,
        "place": sweep.place,
        "recipe": sweep.recipe,
        "space": sweep.space["name"],
        "search": f"{sweep.options.search}/{sweep.options.scheduler}",
        "status": sweep.status,
        "reason": folder.state().get("reason"),
        "progress": f"{ended}/{sweep.options.trials * sweep.options.repeats}",
        "elapsed": sweep.elapsed,
        "counts": dict(counts),
        "best": best,
        "best_score": reached.get(best) if best else None,
        "selection": selection,
        "trials": [trial.to_dict() for trial in sweep.trials],
    }
