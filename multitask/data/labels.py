"""Labels as files have them to numbers."""

import math
import re
from bisect import bisect_right
from collections.abc import Sequence

import numpy as np

from multitask.config import TaskConfig
from multitask.config.kind import Kind, MultiLabel, Regression, label_places
from multitask.data.values import RowError, shown, spelled
from multitask.label_sets import set_members, set_number

_DECIMAL_COMMA = re.compile(r"\s*[-+]?\d+,\d+\s*")
# HF data sets write it where a test split has no labels.
_UNLABELLED = "-1"
_REMEMBERED = 10_000


class LabelDroppedError(ValueError):
    """A row whose label is in `drop_labels`; the label is its text."""


class LabelReader:
    """Reads the labels of one split: a whole number in range for classes, or the place of a name, or how many thresholds a
    number reaches; a finite number in range for regression; the number of a set (`multitask.label_sets`) for several classes.

    A label of a test split may be missing: empty, or −1 where that is no label of the task.
    """

    def __init__(self, task: TaskConfig, split: str) -> None:
        self._column, self._kind = str(task.columns.label), task.kind
        self._names = {} if task.thresholds else label_places(task.kind)
        self._thresholds, self._dropped = task.thresholds, frozenset(task.drop_labels)
        self._comma, self._optional = task.layout.decimal == ",", split == "test"
        self._known: dict[str, float | None] = {}

    def read(self, value: object) -> float | None:
        """The label as a number; None where a test row has none.

        Raises:
            RowError: it is missing, not a number or name, or out of range.
            LabelDroppedError: the row is to be left out.
        """
        if not isinstance(value, str):
            return self._read(value)
        try:
            return self._known[value]
        except KeyError:
            number = self._read(value)
            if len(self._known) < _REMEMBERED:
                self._known[value] = number
            return number

    def _read(self, value: object) -> float | None:
        if isinstance(self._kind, MultiLabel):
            return self._set(value, self._kind)
        spelling = spelled(value).strip()
        if spelling in self._dropped:
            raise LabelDroppedError(spelling)
        if self._optional and (not spelling or (spelling == _UNLABELLED and not self._is_label(spelling))):
            return None
        return self._judged(value, spelling)

    def _set(self, value: object, kind: MultiLabel) -> float | None:
        if value is None and self._optional:
            return None
        if isinstance(value, str):
            items: list[object] = [item for item in value.split(kind.separator) if item.strip()]
        elif isinstance(value, Sequence | np.ndarray):
            items = list(value)
        else:
            items = [] if value is None or spelled(value) == "" else [value]
            if value is None:
                raise RowError(f"missing field {self._column!r}")
        spellings = [(item, spelled(item).strip()) for item in items]
        if dropped := [spelling for _, spelling in spellings if spelling in self._dropped]:
            raise LabelDroppedError(dropped[0])
        return set_number(int(self._judged(item, spelling)) for item, spelling in spellings)

    def _is_label(self, spelling: str) -> bool:
        try:
            self._judged(spelling, spelling)
        except RowError:
            return False
        return True

    def _judged(self, value: object, spelling: str) -> float:
        if self._names:
            return float(self._place(value, spelling))
        number = self._number(value)
        if self._thresholds is not None:
            return float(bisect_right(self._thresholds, number))
        kind = self._kind
        if isinstance(kind, Regression):
            if not kind.low <= number <= kind.high:
                raise RowError(
                    f"{self._column} must lie in [{_plain(kind.low)}, {_plain(kind.high)}], got {_plain(number)}"
                )
            return number
        if not number.is_integer() or not 0 <= number < kind.classes:
            raise RowError(f"{self._column} must be a whole number in 0 … {kind.classes - 1}, got {_plain(number)}")
        return number

    def _place(self, value: object, spelling: str) -> int:
        # A column of whole numbers is written as one of floats where one of them is missing.
        for name in (spelling, spelling.removesuffix(".0"), f"{spelling}.0"):
            if name in self._names:
                return self._names[name]
        close = next((name for name in self._names if name.casefold() == spelling.casefold()), None)
        hint = f"; {close!r} differs in case alone: kind.labels may be a mapping with both" if close else ""
        raise RowError(f"{self._column} must be one of {', '.join(self._names)}, got {shown(value)}{hint}")

    def _number(self, value: object) -> float:
        if value is None:
            raise RowError(f"missing field {self._column!r}")
        if isinstance(value, str) and not value.strip():
            raise RowError(f"{self._column} is empty")
        try:
            number = float(self._pointed(value) if isinstance(value, str) else value)  # type: ignore[arg-type]
        except (ValueError, TypeError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            raise RowError(f"{self._column} is not a number: {shown(value)}{self._hint(value)}")
        return number

    def _pointed(self, text: str) -> str:
        # float() takes 1_000, which no data file means as a number.
        if "_" in text or (self._comma and "." in text):
            return "nan"
        return text.replace(",", ".") if self._comma else text

    def _hint(self, value: object) -> str:
        if isinstance(value, str) and not self._comma and _DECIMAL_COMMA.fullmatch(value):
            return "; for a decimal comma set the task's layout.decimal to ','"
        is_word = isinstance(value, str) and self._kind.classes and self._thresholds is None and value.strip().isalpha()
        return "; for labels that are words give kind.labels" if is_word else ""


def classes_of(kind: Kind, label: float) -> list[int]:
    """The classes that a label of a task with classes stands for."""
    return set_members(label) if isinstance(kind, MultiLabel) else [int(label)]


def _plain(number: float) -> str:
    """The number with all of its digits, and no more."""
    return f"{number:g}" if float(f"{number:g}") == number else repr(number)
