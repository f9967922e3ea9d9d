"""JSON Lines: one object a line."""

import json
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import BinaryIO

from multitask.config.files import Layout
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

    def __init__(self, stream: BinaryIO, file: str, layout: Layout | None = None) -> None:
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
        if line.strip():
            values, problem = parse_object(line)
            yield lines.number, values, problem


def parse_object(text: str) -> tuple[dict[str, object], str]:
    """The JSON object that `text` is, or why it is none."""
    try:
        values = json.loads(text, object_pairs_hook=_distinct)
    except json.JSONDecodeError as error:
        return {}, f"not valid JSON: {error.msg} at column {error.colno}"
    except RecursionError:
        return {}, "not valid JSON: nested too deeply"
    except ValueError as error:
        return {}, f"not valid JSON: {error}"
    return (values, "") if isinstance(values, dict) else ({}, "not a JSON object")


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} stands twice")
    return values
