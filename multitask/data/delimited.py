"""Delimited text: CS224N files, CSV, and GLUE TSV."""

import csv
from collections.abc import Iterator, Sequence
from typing import BinaryIO, ClassVar

from multitask.data.lines import Lines
from multitask.data.schema import Record
from multitask.errors import UserError

# Also bounds what a quote that is never closed can swallow before it is recognised.
_LONGEST_FIELD = 2**24

_Row = tuple[int, list[str], str]


class _Delimited:
    """A header, then one record a row; `_rows` gives (line, fields, problem).

    Raises:
        UserError: the header cannot be read.
    """

    def __init__(self, stream: BinaryIO, file: str) -> None:
        self._lines = Lines(stream)
        self._remaining = self._rows()
        line, self.columns, problem = next(self._remaining, (0, [], ""))
        if problem:
            raise UserError(f"{file}:{line}: the header: {problem}")

    def records(self, names: Sequence[str]) -> Iterator[Record]:
        """The wanted columns of every row that is not blank."""
        positions = [self.columns.index(name) for name in names]
        width = len(self.columns)
        for line, fields, problem in self._remaining:
            if not problem and len(fields) != width:
                problem = f"has {len(fields)} fields, the header has {width}"
            yield Record(line, [] if problem else [fields[position] for position in positions], problem)

    def _rows(self) -> Iterator[_Row]:
        raise NotImplementedError


class CSV(_Delimited):
    """Comma separated with standard quoting: a quoted field may hold commas, doubled quotes and line ends.

    A record whose quoting breaks is reported at the line on which it starts, and reading goes on at the line after it:
    a stray quote costs its own row, not all those up to the next quote.
    """

    delimiter: ClassVar[str] = ","

    def _rows(self) -> Iterator[_Row]:
        csv.field_size_limit(_LONGEST_FIELD)
        parser = self._parser()
        while True:
            line = self._lines.begin_record()
            try:
                fields = next(parser)
            except StopIteration:
                return
            except csv.Error as error:
                self._lines.keep_first()
                parser = self._parser()
                yield line, [], _reason(error)
                continue
            if fields:
                yield line, fields, ""

    def _parser(self) -> "Iterator[list[str]]":
        return csv.reader(self._lines, delimiter=self.delimiter, strict=True)


class CS224N(CSV):
    """The CS224N default project's files: tab separated, standard quoting."""

    delimiter: ClassVar[str] = "\t"


class Glue(_Delimited):
    """GLUE's files: tab separated, one line a row, quote characters are plain text."""

    def _rows(self) -> Iterator[_Row]:
        for line in self._lines:
            self._lines.begin_record()
            text = line.rstrip("\r\n")
            if text:
                yield self._lines.number, text.split("\t"), ""


def _reason(error: csv.Error) -> str:
    message = str(error)
    if message.startswith(("unexpected end of data", "field larger")):
        return "broken quoting: a quote is opened and never closed"
    if message.startswith("new-line character"):
        return "a bare carriage return outside of quotes"
    return f"broken quoting: {message}"
