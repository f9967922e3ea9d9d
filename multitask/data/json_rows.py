"""JSON: one object a line, or an array of objects."""

import json
from collections.abc import Iterator, Sequence
from itertools import chain, islice, takewhile
from typing import BinaryIO

from multitask.config.files import Layout
from multitask.data.lines import Lines
from multitask.data.schema import Record
from multitask.errors import UserError

# The keys of so many rows stand for the file's columns.
_ROWS_FOR_COLUMNS = 100
_DEEPEST_PATH = 20

_Row = tuple[int, dict[str, object], str]


class _Objects:
    """Rows that are JSON objects. A key that a row lacks is a missing field; `a.b` is the key b of the object at a.

    `columns`: the keys, and the paths of keys, that occur in the first 100 rows.

    Raises:
        UserError: none of the first 100 rows is a JSON object.
    """

    def __init__(self, rows: Iterator[_Row], file: str) -> None:
        first = list(islice(rows, _ROWS_FOR_COLUMNS))
        self.columns = list(dict.fromkeys(path for _, values, _ in first for path in _paths(values)))
        if first and not self.columns:
            raise UserError(f"{file}:{first[0][0]}: {first[0][2] or 'an object without keys'}")
        self._remaining = chain(first, rows)

    def records(self, names: Sequence[str]) -> Iterator[Record]:
        """The wanted keys of every row that is not blank."""
        for line, values, problem in self._remaining:
            yield Record(line, [] if problem else [_at(values, name) for name in names], problem)


class JSONL(_Objects):
    """One object a line."""

    def __init__(self, stream: BinaryIO, file: str, layout: Layout | None = None) -> None:
        super().__init__(_rows(Lines(stream, layout or Layout())), file)


class JSON(_Objects):
    """An array of objects, which is read as a whole and counted from 1, or one object a line.

    Raises:
        UserError: it is an array and not valid JSON.
    """

    def __init__(self, stream: BinaryIO, file: str, layout: Layout | None = None) -> None:
        lines = Lines(stream, layout or Layout())
        start = list(takewhile(str.isspace, lines)) + lines.record[-1:]
        if not start or not start[-1].lstrip().startswith("["):
            lines.put_back(start[-1:])
            super().__init__(_rows(lines), file)
            return
        values, problem = parse_json(start[-1] + "".join(lines))
        if problem:
            raise UserError(f"{file}: {problem}")
        rows = values if isinstance(values, list) else []
        super().__init__((_row(number, row) for number, row in enumerate(rows, 1)), file)


def _row(line: int, values: object, problem: str = "") -> _Row:
    if problem:
        return line, {}, problem
    return (line, values, "") if isinstance(values, dict) else (line, {}, "not a JSON object")


def _paths(values: dict[str, object], before: str = "") -> Iterator[str]:
    for key, value in values.items():
        yield before + key
        if isinstance(value, dict) and before.count(".") < _DEEPEST_PATH:
            yield from _paths(value, f"{before}{key}.")


def _at(values: dict[str, object], name: str) -> object:
    if name in values or "." not in name:
        return values.get(name)
    key, _, rest = name.partition(".")
    inside = values.get(key)
    return _at(inside, rest) if isinstance(inside, dict) else None


def _rows(lines: Lines) -> Iterator[_Row]:
    for line in lines:
        lines.begin_record()
        if line.strip():
            yield _row(lines.number, *parse_json(line))


def parse_json(text: str) -> tuple[object, str]:
    """What the JSON `text` says, or why it is none."""
    try:
        return json.loads(text, object_pairs_hook=_distinct), ""
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column" if error.lineno > 1 else "column"
        return None, f"not valid JSON: {error.msg} at {place} {error.colno}"
    except RecursionError:
        return None, "not valid JSON: nested too deeply"
    except ValueError as error:
        return None, f"not valid JSON: {error}"


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} stands twice")
    return values
