"""What of a method can be searched, declared beside it in plain values: the class variable `SEARCH` of its config.

`SEARCH` maps the method's own keys to ranges. A method that is registered later joins the search spaces by declaring its own;
one without `SEARCH` stays out of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Between:
    """A number from `low` to `high`, on a logarithmic scale if `log`."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class Whole:
    """A whole number from `low` to `high`, both included."""

    low: int
    high: int
    log: bool = False


@dataclass(frozen=True)
class OneOf:
    """One of `values`. A single one holds the key at it, as where another key that is searched excludes it."""

    values: tuple[str | int | float | bool | None, ...]


@dataclass(frozen=True)
class PerTask:
    """A mapping of every task to a weight of its own, from `low` to `high` before all are scaled to a mean of 1.

    The scale is fixed since it would be another name of the learning rate.
    """

    low: float
    high: float
    log: bool = True


@dataclass(frozen=True)
class TasksInStep:
    """How many of a phase's K tasks a step trains.

    From 1, or from 2 where the combination compares the tasks of a step (`NEEDS_SEVERAL_TASKS`), to K; to K − 1 if it `draws`
    them: strategies that draw all K of K tasks are all alike. Never fewer than the least.
    """

    draws: bool


Range = Between | Whole | OneOf | PerTask | TasksInStep
Ranges = Mapping[str, Range]


def declared_ranges(method: type) -> Ranges | None:
    """Key to range as the config class `method` declares them; None if it is not to be searched."""
    ranges: Ranges | None = getattr(method, "SEARCH", None)
    return ranges


def needs_several_tasks(method: type) -> bool:
    """Whether the combination `method` compares tasks, so that one task in a step leaves it nothing to do."""
    return bool(getattr(method, "NEEDS_SEVERAL_TASKS", False))
