"""JSON Lines: one object a line."""

import json
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import BinaryIO

from multitask.data.lines import Lines
from multitask.data.schema import Record
from multitask.errors import UserError

# The keys of so many rows stand for the file's columns.
_ROWS_FOR_COLUMNS = 100

_Row = tuple[int, dict[str, object], str]


class JSONL:
    """A key that a row lacks is a missing field; `columns` are the keys that occur in the first 100 rows.

    Raises:
        UserError: none of the first 100 rows is a JSON object.
    """

    def __init__(self, stream: BinaryIO, file: str) -> None:
        rows = _rows(Lines(stream))
        first = list(islice(rows, _ROWS_FOR_COLUMNS))
        self.columns = list(dict.fromkeys(key for _, values, _ in first for key in values))
        if first and not self.columns:
            raise UserError(f"{file}:{first[0][0]}: {first[0][2] or 'an object without keys'}")
        self._remaining = chain(first, rows)

    def records(self, names: Sequence[str]) -> Iterator[Record]:
        """The wanted keys of every row that is not blank."""
        for line, values, problem in self._remaining:
            yield Record(line, [] if problem else [values.get(name) for name in names], problem)


def _rows(lines: Lines) -> Iterator[_Row]:
    for line in lines:
        lines.begin_record()
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except json.JSONDecodeError as error:
            yield lines.number, {}, f"not valid JSON: {error.msg} at column {error.colno}"
            continue
        except ValueError as error:
            yield lines.number, {}, f"not valid JSON: {error}"
            continue
        is_object = isinstance(values, dict)
        yield lines.number, values if is_object else {}, "" if is_object else "not a JSON object"
