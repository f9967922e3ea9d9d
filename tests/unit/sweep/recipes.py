"""Recipes of which no file exists, what tables of theirs would hold, and books over them."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cluster.storage import Storage
from cluster.sweep.book import Book
from cluster.sweep.folder import SweepFolder
from cluster.sweep.planning import Budget, measure_budget
from cluster.sweep.proposals import Proposer, create_proposer
from cluster.sweep.records import Options, Report, Sweep
from multitask.config import RunConfig, parse_config
from multitask.sampling import Schedule, task_sizes
from tests.builders import tiny_config
from tune_spaces import Space, open_space

ROWS = {"sst": 900, "quora": 2400, "sts": 640}


def recipe(**changes: Any) -> RunConfig:
    """The tiny recipe; `changes` as `tiny_config` has them."""
    return parse_config(tiny_config(Path("nowhere"), **changes), "test")


def batch_sizes(**sizes: int) -> dict[str, Any]:
    """The change of a recipe that gives tasks batch sizes of their own."""
    return {task: {"batch_size": size} for task, size in sizes.items()}


def tables(rows: Mapping[str, int]) -> Any:
    """As much of `Tables` as planning looks at: the number of training rows."""
    return SimpleNamespace(train={task: SimpleNamespace(rows=number) for task, number in rows.items()})


def budget_of(base: RunConfig, evaluations: int = 9, rows: Mapping[str, int] = ROWS) -> Budget:
    """What `base` trains."""
    return measure_budget(base, tables({task: rows[task] for task in base.tasks}), evaluations)


def schedule_of(config: RunConfig, rows: Mapping[str, int] = ROWS) -> Schedule:
    """The schedule that a run of `config` would follow."""
    return Schedule(config, [task_sizes(config, phase, rows) for phase in range(len(config.phases))])


def rows_after_steps(config: RunConfig, rows: Mapping[str, int] = ROWS) -> list[int]:
    """Training rows after 0, 1, … steps, counted round by round; a pass's last batch is short where its rows do not divide."""
    sizes = [task_sizes(config, phase, rows) for phase in range(len(config.phases))]
    schedule, counted = Schedule(config, sizes), [0]
    for step in range(schedule.steps):
        own = schedule.round(step)
        trained = 0
        for batch in own.batches:
            size = sizes[own.phase][batch.task]
            drawn = min(size.rows, config.tasks[batch.task].rows_per_epoch or size.rows)
            short = drawn - (size.batches - 1) * size.batch_size
            trained += sum(short if (n + 1) % size.batches == 0 else size.batch_size for n in batch.numbers)
        counted.append(counted[-1] + trained)
    return counted


class Bench:
    """A sweep's folder, and the books that are opened over it one after another."""

    def __init__(self, place: Path, space: Space | str, base: RunConfig | None = None, **options: Any) -> None:
        self.base = base or recipe()
        self.space = open_space(space, self.base) if isinstance(space, str) else space
        self.options = Options(**{"trials": 4, **options})
        self.folder = SweepFolder(Storage(str(place / "s")))
        self.folder.write_plan(
            Sweep("s", str(place / "s"), "tiny", self.base.to_dict(), self.space.describe(), self.options)
        )

    def open(self, proposer: Proposer | None = None, rows: Mapping[str, int] = ROWS, **options: Any) -> Book:
        """The book as a driver that begins now would have it. `options`: bounds that changed since."""
        from dataclasses import replace

        sweep = self.folder.read()
        sweep = replace(sweep, options=replace(sweep.options, **options))
        proposer = proposer or create_proposer(self.space, sweep.options)
        budget = budget_of(self.base, sweep.options.evaluations, rows)
        book = Book(self.folder, sweep, self.base, self.space, proposer, budget, {"plan": {}, "board": ["board"]})
        book.prepare()
        return book


def evaluation(iteration: int, score: float, *, step: int | None = None, **more: float) -> dict[str, Any]:
    """What a trial reports at its evaluation number `iteration`: ten steps, 100 rows and 1000 tokens for each."""
    return {
        "train/evaluations": iteration,
        "train/rows": 100 * iteration,
        "train/tokens": 1000 * iteration,
        "step": step or 10 * iteration,
        "epoch": iteration / 9,
        "dev/mean": score,
        "dev/best": True,
        "train/loss/sst": 0.5,
        **more,
    }


def history(*scores: float) -> list[dict[str, float]]:
    """The `history` that `result.json` holds after these evaluations."""
    return [
        {"step": 10 * i, "epoch": i / 9, "rows": 100 * i, "tokens": 1000 * i, "dev/mean": score}
        for i, score in enumerate(scores, start=1)
    ]


def report(iteration: int, score: float, **more: float) -> Report:
    """The record of `evaluation`."""
    return Report(
        iteration, 10 * iteration, 100 * iteration, 1000 * iteration, 5.0 * iteration, {"dev/mean": score, **more}
    )
