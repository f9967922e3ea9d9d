"""What follows from where a sweep lies: its name in commands, and where its plan is read."""

import shlex
from pathlib import Path

from cluster.storage.location import inside
from cluster.sweeps.records import Sweep
from multitask.config import RunConfig, parse_config

RUNS, PLAN = "runs", "sweep.json"


def sweep_argument(sweep: Sweep) -> str:
    """What a command calls the sweep: its name, or its folder or URI where it does not lie in `runs` here."""
    is_here = "://" not in sweep.location and Path(sweep.location).resolve() == Path(RUNS, sweep.name).resolve()
    return shlex.quote(sweep.name if is_here else sweep.location)


def recipe_config(sweep: Sweep) -> RunConfig:
    """The config of the recipe that it searches around.

    Raises:
        UserError: its plan was made for another version.
    """
    return parse_config(sweep.base, inside(sweep.location, PLAN))
