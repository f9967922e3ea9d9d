"""The axis of one searched parameter."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.analysis.value_text import value_text


@dataclass(frozen=True)
class Scale:
    """From values to places. `categories` are the texts of a choice's values, empty for a number from `low` to `high`."""

    name: str
    low: float = 0.0
    high: float = 1.0
    is_log: bool = False
    categories: tuple[str, ...] = ()

    @property
    def is_choice(self) -> bool:
        """Whether its values are names, not numbers on a line."""
        return bool(self.categories)

    def number(self, value: Any) -> float:
        """`value` as the axis counts it: a choice's place among the others, a number itself."""
        return float(self.categories.index(value_text(value))) if self.is_choice else float(value)

    def place(self, value: Any) -> float:
        """Where `value` lies between the lower end, 0, and the upper one, 1."""
        if self.is_choice:
            # Half a category stays free at each end.
            return (self.number(value) + 0.5) / len(self.categories)
        low, high, own = (math.log(x) if self.is_log else x for x in (self.low, self.high, float(value)))
        return (own - low) / (high - low) if high > low else 0.5

    def ticks(self) -> list[tuple[float, str]]:
        """Places with their labels: the ends and round numbers between."""
        if self.is_choice:
            return [(self.place(name), name) for name in self.categories]
        values = [self.low, *self._between(), self.high] if self.high > self.low else [self.low]
        return [(self.place(value), value_text(float(value))) for value in values]

    def _between(self) -> list[float]:
        if self.is_log:
            tens = [
                10.0**power for power in range(math.ceil(math.log10(self.low)), math.floor(math.log10(self.high)) + 1)
            ]
            inner = [ten for ten in tens if self.low < ten < self.high]
        else:
            inner = [self.low + share * (self.high - self.low) for share in (0.25, 0.5, 0.75)]
        return [value for value in inner if 0.08 < self.place(value) < 0.92]


def scale_of(name: str, about: Mapping[str, Any], seen: Sequence[Any]) -> Scale:
    """The axis of a parameter that is described by `about`, wide enough for the values that were `seen`."""
    values = [value for value in seen if isinstance(value, int | float) and not isinstance(value, bool)]
    if about["kind"] == "choice" or len(values) < len(seen):
        declared: Iterable[Any] = about["values"] or ()
        return Scale(name, categories=tuple(dict.fromkeys(value_text(value) for value in (*declared, *seen))))
    low, high = min([about["low"], *values]), max([about["high"], *values])
    return Scale(name, low, high, is_log=bool(about["log"]) and low > 0)
