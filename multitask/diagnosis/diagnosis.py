"""`diagnose`: the probe and what is made of it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from multitask.config import RunConfig
from multitask.config.loading import change_config
from multitask.data import Tables, prepare_tables
from multitask.diagnosis.conflicts import Pair, TaskNoise, noise, pairs
from multitask.diagnosis.probe import Look, Probe, Start
from multitask.diagnosis.replay import Replayed, replay
from multitask.diagnosis.verdict import verdict, worth_trying
from multitask.layer_names import layer_title

Tell = Callable[[str], None]
_TIMED = 3


@dataclass(frozen=True)
class Diagnosis:
    """What was found; `blocks`: names of the layers that `Pair.layers` has cosines of; `try_next`: methods worth a sweep, the sum first.

    `after`: steps of `steps` before the first look; `start`: where the weights that it began with come from, None for the recipe's own.
    """

    recipe: str
    steps: int
    after: int
    start: str | None
    looks: int
    seconds: float
    blocks: tuple[str, ...]
    pairs: tuple[Pair, ...]
    noise: tuple[TaskNoise, ...]
    methods: tuple[Replayed, ...]
    verdict: tuple[str, ...]
    try_next: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def space(self, lr: float) -> dict[str, Any]:
        """A search space of the methods that are worth trying, as a YAML file has it, around the learning rate `lr`."""
        return {
            "parameters": {
                "combination.name": {"choice": list(self.try_next)},
                "optimizer.lr": {"loguniform": [lr / 3, lr * 3]},
            }
        }


def diagnose(
    config: RunConfig,
    *,
    steps: int = 200,
    every: int = 4,
    after: int = 0,
    start: Start | None = None,
    tables: Tables | None = None,
    device: str | None = None,
    tell: Tell = lambda text: None,
) -> Diagnosis:
    """Train `steps` steps of `config` by the sum of its losses in this process, and look at the task gradients at every `every`-th.

    The first steps of a training are not like the rest: `after` so many steps the looks begin, or from `start`, the weights of a run.

    Nothing is kept of the training. `tell` is told how long it takes, after a few steps, and how far it is.

    Raises:
        UserError: as `multitask.train`; no step trains several tasks.
    """
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    # What methods keep one gradient cannot look at several, and what others weigh must be looked at.
    config = change_config(config, {"training.layer_conflicts_every": None, "training.check_every": 1}, "diagnose")
    tables = tables or prepare_tables(config)
    probe = Probe(config, tables, steps, every, where, after, start)
    began = time.perf_counter()
    looks = list(probe.run(_progress(probe.steps, began, tell)))
    seconds = time.perf_counter() - began
    about = {"steps": probe.steps, "after": after, "start": start.place if start else None, "seconds": seconds}
    return _findings(config, tables, probe, looks, about)


def _progress(steps: int, began: float, tell: Tell) -> Callable[[int], None]:
    """What is called with the number of steps done: tells after a few of them, and every minute, how long it takes."""
    last = 0.0

    def on_step(done: int) -> None:
        nonlocal last
        spent = time.perf_counter() - began
        if done == _TIMED or spent - last > 60:
            last = spent
            tell(f"step {done}/{steps}, about {(steps - done) * spent / done / 60:.1f} minutes to go")

    return on_step


def _findings(
    config: RunConfig, tables: Tables, probe: Probe, looks: Sequence[Look], about: dict[str, Any]
) -> Diagnosis:
    tasks, rows = list(config.tasks), {task: table.rows for task, table in tables.train.items()}
    found, noisy, methods = pairs(looks, tasks), noise(looks, tasks), replay(config, looks, rows)
    return Diagnosis(
        recipe=config.name,
        looks=len(looks),
        **about,
        blocks=tuple(map(layer_title, probe.layers.names)),
        pairs=tuple(found),
        noise=tuple(noisy),
        methods=tuple(methods),
        verdict=tuple(verdict(found, noisy, methods)),
        try_next=tuple(worth_trying(found, methods)),
    )
