"""What a combination is told of the run when it is built."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Setting:
    """`train_rows`: task to number of training rows, in the config's order; `steps`: of the whole run."""

    train_rows: Mapping[str, int]
    steps: int
    seed: int

    @property
    def tasks(self) -> tuple[str, ...]:
        """The config's tasks."""
        return tuple(self.train_rows)
