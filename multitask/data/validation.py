"""What makes a row usable."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from multitask.config import TaskConfig
from multitask.data.labels import LabelReader
from multitask.data.values import RowError, shown, spelled

# White space, and what Unicode says to draw nothing for (Default_Ignorable_Code_Point).
_NOTHING_TO_SEE = re.compile(
    r"[\s\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    r"\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]*"
)


class Row(NamedTuple):
    """A usable row; `label` is None in a test split without labels."""

    id: str
    text: str
    text_pair: str | None
    negative: str | None
    label: float | None


class RowReader:
    """Makes usable rows of raw values: of the columns in `roles` (`id`, `text`, `text_pair`, `negative`, `label`), in that order.

    Roles that a file lacks are left out.
    """

    def __init__(self, task: TaskConfig, split: str, roles: Sequence[str]) -> None:
        columns = task.columns
        places = {role: place for place, role in enumerate(roles)}
        self._id, self._id_column = places.get("id"), str(columns.id)
        self._text, self._text_column = places["text"], columns.text
        self._pair, self._pair_column = places.get("text_pair"), str(columns.text_pair)
        self._negative, self._negative_column = places.get("negative"), str(columns.negative)
        self._label = places.get("label")
        self._labels = LabelReader(task, split)

    def read(self, values: Sequence[object], stem: str, line: int) -> Row:
        """The row; without an id it is named `stem:line`.

        Raises:
            RowError: a field is missing, empty, not valid text, or the label is no number of the task's kind.
            LabelDroppedError: its label is one of `drop_labels`.
        """
        return Row(
            f"{stem}:{line}" if self._id is None else _identifier(values[self._id], self._id_column),
            _text(values[self._text], self._text_column),
            None if self._pair is None else _text(values[self._pair], self._pair_column),
            None if self._negative is None else _text(values[self._negative], self._negative_column),
            None if self._label is None else self._labels.read(values[self._label]),
        )

    def texts(self, values: Sequence[object]) -> tuple[str, str | None]:
        """The text, and the second one, of a row that `read` does not make.

        Raises:
            RowError: as `read`.
        """
        pair = None if self._pair is None else _text(values[self._pair], self._pair_column)
        return _text(values[self._text], self._text_column), pair

    def has_label(self, values: Sequence[object]) -> bool:
        """Whether a label is among the values and usable."""
        try:
            return self._label is not None and self._labels.read(values[self._label]) is not None
        except ValueError:
            return False


def _text(value: object, column: str) -> str:
    if value is None:
        raise RowError(f"missing field {column!r}")
    if not isinstance(value, str):
        raise RowError(f"{column} is not a text: {shown(value)}")
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
    return _text(spelled(value) if isinstance(value, int | float) else value, column)
