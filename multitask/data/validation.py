"""What makes a row usable."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from multitask.config import TaskConfig
from multitask.config.kind import Kind, Regression

# White space, and what Unicode says to draw nothing for (Default_Ignorable_Code_Point).
_NOTHING_TO_SEE = re.compile(
    r"[\s\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    r"\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]*"
)


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
    if not "!" <= value[:1] <= "~" and _NOTHING_TO_SEE.fullmatch(value):
        raise RowError(f"{column} is empty")
    if "\0" in value:
        raise RowError(f"{column} contains a NUL byte")
    if not value.isascii():
        _check_unicode(value, column)
    return value


def _check_unicode(value: str, column: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise RowError(f"{column} is not valid UTF-8") from None


def _identifier(value: object, column: str) -> str:
    return _text(value if isinstance(value, str) else _spelled(value), column)


def _spelled(value: object) -> object:
    """A number as the text of a file would have it: a column of whole numbers is one of floats where a row lacks its own."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return str(value) if isinstance(value, int | float) else value


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
