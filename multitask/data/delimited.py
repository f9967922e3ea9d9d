"""Delimited text: CS224N files, CSV, TSV, and GLUE TSV."""

import csv
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import BinaryIO, ClassVar, NamedTuple

from multitask.config.files import Layout, Quoting
from multitask.data.lines import Lines
from multitask.data.quoting import SAMPLE_LINES, MixedQuotingError, tell_quoting
from multitask.data.schema import Record
from multitask.errors import UserError

# Also bounds what a quote that is never closed can swallow before it is recognised.
_LONGEST_FIELD = 2**24
_SEPARATOR_LINE = re.compile(r"sep=(.)\s*", re.IGNORECASE)
_OPEN_QUOTE = "broken quoting: a quote is opened and never closed"
_BARE_RETURN = "a bare carriage return outside of quotes"


class _Row(NamedTuple):
    """A row's fields, or why there are none; `lines` are its physical lines where they are several."""

    line: int
    fields: list[str]
    problem: str = ""
    lines: tuple[str, ...] = ()


class _Delimited:
    """A header, then one record a row.

    With standard quoting a quoted field may hold delimiters, doubled quotes and line ends. A record whose quoting breaks is
    reported at the line on which it starts, and reading goes on at the line after it: a stray quote costs its own row, not
    all those up to the next quote.

    Raises:
        UserError: the header cannot be read, or the file does not tell whether it quotes.
    """

    delimiter: ClassVar[str]
    # None: told from the file.
    quoting: ClassVar[Quoting | None]

    def __init__(self, stream: BinaryIO, file: str, layout: Layout | None = None) -> None:
        layout = layout or Layout()
        csv.field_size_limit(_LONGEST_FIELD)
        self._file, self._lines, self._comment = file, Lines(stream, layout), layout.comment
        self._delimiter = layout.delimiter or self._declared() or self.delimiter
        self._width = len(layout.header) if layout.header else None
        self._remaining = self._rows(layout.quoting or self.quoting)
        header = _Row(0, list(layout.header)) if layout.header else next(self._remaining, _Row(0, []))
        if header.problem:
            raise UserError(f"{file}:{header.line}: the header: {header.problem}")
        self.columns = header.fields
        self._width = len(self.columns)

    def _declared(self) -> str | None:
        """The delimiter of a first line `sep=;`, which Excel writes and reads."""
        self._lines.begin_record()
        first = next(self._lines, "")
        found = _SEPARATOR_LINE.fullmatch(first)
        if found is None and first:
            self._lines.put_back([first])
        return found.group(1) if found else None

    def records(self, names: Sequence[str]) -> Iterator[Record]:
        """The wanted columns of every row that is not blank."""
        positions = [self.columns.index(name) for name in names]
        width = len(self.columns)
        for line, fields, problem, lines in self._remaining:
            apart = self._apart(line, lines, positions) if lines else ()
            if apart and self._delimiter == "\t":
                # Texts hold no tabs, so that every line is a row.
                yield from apart
                continue
            if not problem and len(fields) != width:
                problem = f"has {len(fields)} fields, the header has {width}"
            yield Record(line, [] if problem else [fields[position] for position in positions], problem, apart)

    def _apart(self, line: int, lines: Sequence[str], positions: Sequence[int]) -> tuple[Record, ...]:
        """The lines as a row each, the first one broken, if each has the fields of a row."""
        rows = [[_bare(field) for field in text.rstrip("\r\n").split(self._delimiter)] for text in lines]
        if any(len(fields) != len(self.columns) for fields in rows):
            return ()
        values = [[fields[position] for position in positions] for fields in rows]
        problems = [_OPEN_QUOTE] + [""] * (len(rows) - 1)
        return tuple(Record(line + n, *read) for n, read in enumerate(zip(values, problems, strict=True)))

    def _rows(self, quoting: Quoting | None) -> Iterator[_Row]:
        if quoting is None:
            yield from self._rows_before_quotes()
            quoting = self._told()
        yield from self._quoted_rows() if quoting == "standard" else self._plain_rows()

    def _quoted_rows(self) -> Iterator[_Row]:
        lines, parser = self._lines, self._parser()
        while True:
            lines.begin_record()
            try:
                fields = next(parser)
            except StopIteration:
                return
            except csv.Error as error:
                lines.keep_first()
                parser = self._parser()
                yield _Row(lines.start, [], _reason(error))
                continue
            several = tuple(lines.record) if len(lines.record) > 1 else ()
            if several or (fields and not lines.record[0].isspace()):
                yield _Row(lines.start, fields, "", several)

    def _parser(self) -> "Iterator[list[str]]":
        return csv.reader(self._lines, delimiter=self._delimiter, strict=True)

    def _plain_rows(self) -> Iterator[_Row]:
        for line in self._lines:
            self._lines.begin_record()
            text = line.rstrip("\r\n")
            if text and not text.isspace():
                yield self._plain_row(self._lines.number, text)

    def _plain_row(self, number: int, text: str) -> _Row:
        return _Row(number, text.split(self._delimiter), _BARE_RETURN if "\r" in text else "")

    def _rows_before_quotes(self) -> Iterator[_Row]:
        """The rows up to the first line with a quote, which is put back: they have one reading only."""
        lines = self._lines
        lines.begin_record()
        for line in lines:
            if '"' in line:
                lines.put_back([line])
                return
            lines.begin_record()
            text = line.rstrip("\r\n")
            if text and not text.isspace():
                yield self._plain_row(lines.number, text)

    def _told(self) -> Quoting:
        lines = self._lines
        lines.begin_record()
        sample = list(islice(lines, SAMPLE_LINES))
        start = lines.start
        lines.put_back(sample)
        if comment := self._comment:
            sample = ["\n" if line.startswith(comment) else line for line in sample]
        try:
            return tell_quoting(sample, self._delimiter, self._width, cut=len(sample) == SAMPLE_LINES)
        except MixedQuotingError as mixed:
            raise UserError(
                f"{self._file}: line {start + mixed.quoted} quotes a field as CSV does, line {start + mixed.bare} does not: "
                "set the task's layout.quoting to standard, or to none where quotes are text"
            ) from None


class CSV(_Delimited):
    """Comma separated, standard quoting."""

    delimiter: ClassVar[str] = ","
    quoting: ClassVar[Quoting | None] = "standard"


class CS224N(_Delimited):
    """The CS224N default project's files: tab separated, standard quoting."""

    delimiter: ClassVar[str] = "\t"
    quoting: ClassVar[Quoting | None] = "standard"


class Glue(_Delimited):
    """GLUE's files: tab separated, one line a row, quote characters are plain text."""

    delimiter: ClassVar[str] = "\t"
    quoting: ClassVar[Quoting | None] = "none"


class TSV(_Delimited):
    """Tab separated, of whatever wrote it: as GLUE's files or as pandas writes them, which the file tells."""

    delimiter: ClassVar[str] = "\t"
    quoting: ClassVar[Quoting | None] = None


def _bare(field: str) -> str:
    return field[1:-1] if len(field) > 1 and field[0] == field[-1] == '"' else field


def _reason(error: csv.Error) -> str:
    message = str(error)
    if message.startswith("field larger"):
        return f"a field is longer than {_LONGEST_FIELD:,} characters; is a quote opened and never closed?"
    if message.startswith("unexpected end of data"):
        return _OPEN_QUOTE
    if message.startswith("new-line character"):
        return _BARE_RETURN
    return f"broken quoting: {message}"
