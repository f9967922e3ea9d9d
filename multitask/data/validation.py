"""What makes a row usable."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from multitask.config import TaskConfig
from multitask.config.kind import Kind, Regression


class RowError(ValueError):
    """Why a row cannot be used."""


class Row(NamedTuple):
    """A usable row; `label` is None in a test file without labels."""

    id: str
    text: str
    text_pair: str | None
    negative: str | None
    label: float | None


def validate(values: Mapping[str, object], task: TaskConfig, default_id: str) -> Row:
    """A usable row from raw `values` by role (`id`, `text`, `text_pair`, `negative`, `label`); roles the file lacks are left out.

    Raises:
        RowError: a field is missing, empty, not valid text, or the label is no number of the task's kind.
    """
    columns = task.columns
    return Row(
        _identifier(values["id"], str(columns.id)) if "id" in values else default_id,
        _text(values["text"], columns.text),
        _text(values["text_pair"], str(columns.text_pair)) if "text_pair" in values else None,
        _text(values["negative"], str(columns.negative)) if "negative" in values else None,
        parse_label(values["label"], str(columns.label), task.kind) if "label" in values else None,
    )


def parse_label(value: object, column: str, kind: Kind) -> float:
    """The label as a number: a whole one in range for classes (or the place of its name), a finite one in range for regression.

    Raises:
        RowError: it is missing, not a number or out of range.
    """
    if names := getattr(kind, "labels", None):
        return float(_position(value, column, names))
    number = _number(value, column)
    if isinstance(kind, Regression):
        if not kind.low <= number <= kind.high:
            raise RowError(f"{column} must lie in [{kind.low:g}, {kind.high:g}], got {number:g}")
        return number
    if not number.is_integer() or not 0 <= number < kind.classes:
        raise RowError(f"{column} must be a whole number in 0 … {kind.classes - 1}, got {number:g}")
    return number


def _text(value: object, column: str) -> str:
    if value is None:
        raise RowError(f"missing field {column!r}")
    if not isinstance(value, str):
        raise RowError(f"{column} is not a text: {_shown(value)}")
    if not value or value.isspace():
        raise RowError(f"{column} is empty")
    if "\0" in value:
        raise RowError(f"{column} contains a NUL byte")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise RowError(f"{column} is not valid UTF-8") from None
    return value


def _identifier(value: object, column: str) -> str:
    return _text(str(value) if isinstance(value, int | float) else value, column)


def _position(value: object, column: str, names: Sequence[str]) -> int:
    name = str(value).strip() if value is not None else ""
    if name not in names:
        raise RowError(f"{column} must be one of {', '.join(names)}, got {_shown(value)}")
    return names.index(name)


def _number(value: object, column: str) -> float:
    if value is None:
        raise RowError(f"missing field {column!r}")
    if isinstance(value, str) and not value.strip():
        raise RowError(f"{column} is empty")
    try:
        # float() takes 1_000, which no data file means as a number.
        number = math.nan if isinstance(value, str) and "_" in value else float(value)  # type: ignore[arg-type]
    except (ValueError, TypeError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise RowError(f"{column} is not a number: {_shown(value)}")
    return number


def _shown(value: object) -> str:
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
