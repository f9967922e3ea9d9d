"""What a W&B run begins with: its config, without secrets, and what a W&B agent says of it."""

import os
from typing import Any

from cluster.training.observer import RunInfo

AGENT_VARIABLES = {
    "sweep_id": "WANDB_SWEEP_ID",
    "run_id": "WANDB_RUN_ID",
    "project": "WANDB_PROJECT",
    "entity": "WANDB_ENTITY",
}


def agent_settings() -> dict[str, str]:
    """What a W&B agent says of the run that it started here: `sweep_id`, `run_id`, `project`, `entity`; empty without one."""
    found = {name: os.environ[variable] for name, variable in AGENT_VARIABLES.items() if os.environ.get(variable)}
    return found if {"sweep_id", "run_id"} <= found.keys() else {}


def tracked_config(run: RunInfo, extra: dict[str, Any]) -> dict[str, Any]:
    """The run's config, `extra`, and under `run` what is known of the run.

    Dotted names in `extra`, as a sample's, become levels: W&B reads every dot of a name as a step into a level, and could
    neither group nor sort nor plot by a name that holds one. `run.sampling` and `run.combination` name the methods, the
    former for each phase, since W&B has no address for what stands in a list.
    """
    phases = run.config.get("phases", [])
    about = {
        "workers": run.workers,
        "device": run.device,
        "total_steps": run.total_steps,
        "tasks": run.tasks,
        "folder": run.folder,
        "sampling": "+".join(dict.fromkeys(phase["sampling"]["name"] for phase in phases if "sampling" in phase)),
        "combination": run.config.get("combination", {}).get("name", ""),
    }
    config = run.config | {"run": about, "data_hashes": run.data_hashes, "versions": run.versions}
    return config | {key: levels(value) if isinstance(value, dict) else value for key, value in extra.items()}


def levels(flat: dict[str, Any]) -> dict[str, Any]:
    """`{"a.b": 1}` as `{"a": {"b": 1}}`; a name that is also the beginning of others stays among them as ``""``."""
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        *path, leaf = name.split(".")
        level = tree
        for step in path:
            inner = level.setdefault(step, {})
            if not isinstance(inner, dict):
                inner = level[step] = {"": inner}
            level = inner
        known = level.get(leaf)
        level[leaf] = {**known, "": value} if isinstance(known, dict) else value
    return tree
