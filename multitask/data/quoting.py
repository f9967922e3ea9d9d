"""Whether a delimited file quotes its fields, told from its lines."""

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from multitask.config.files import Quoting

# So many lines from the first with a quote on are looked at.
SAMPLE_LINES = 2000


@dataclass
class _Evidence:
    """What speaks for and against quoting; `needed` and `broken` are offsets of lines."""

    needed: list[int] = field(default_factory=list)
    broken: list[int] = field(default_factory=list)
    always: set[int] | None = None
    rows: int = 0


class MixedQuotingError(ValueError):
    """A file that quotes fields and holds bare quotes; `quoted` and `bare` are offsets of such lines."""

    def __init__(self, quoted: int, bare: int) -> None:
        super().__init__(f"line {quoted} quotes a field, line {bare} holds a bare quote")
        self.quoted, self.bare = quoted, bare


def tell_quoting(lines: Sequence[str], delimiter: str, width: int | None, cut: bool) -> Quoting:
    """How the file with these lines, of which the first holds a quote, writes quotes.

    What writes CSV quotes every field that holds a quote, doubles those inside, and mostly leaves other fields alone. So a
    file is quoted if every row fits that and some field needs its quotes for a quote, delimiter or line end inside, or if a
    column is quoted in every row. A file in which nothing needs them has quotes as text.

    Args:
        lines: with their ends.
        delimiter: between fields.
        width: fields of a row; those of the first line if not known yet.
        cut: the file goes on, so the last row may be incomplete.

    Raises:
        MixedQuotingError: some rows fit the one and some the other.
    """
    evidence = _evidence(lines, delimiter, width, cut)
    if not evidence.broken and (evidence.needed or (evidence.always and evidence.rows > 1)):
        return "standard"
    if not evidence.needed:
        return "none"
    raise MixedQuotingError(evidence.needed[0], evidence.broken[0])


def _evidence(lines: Sequence[str], delimiter: str, width: int | None, cut: bool) -> _Evidence:
    evidence = _Evidence()
    inside = re.compile(rf'["\r\n{re.escape(delimiter)}]')
    for start, end, number in _records(lines, delimiter):
        width = width or number
        fields = _written(lines[start:end], delimiter) if number == width else None
        if fields is None or len(fields) != width or _are_rows(lines[start:end], delimiter, width):
            if not (cut and end == len(lines)):
                evidence.broken.append(start)
            continue
        quoted = {place for place, text in enumerate(fields) if text.startswith('"')}
        evidence.always = quoted if evidence.always is None else evidence.always & quoted
        evidence.rows += 1
        if any(inside.search(fields[place][1:-1]) for place in quoted):
            evidence.needed.append(start)
    return evidence


def _are_rows(lines: Sequence[str], delimiter: str, width: int) -> bool:
    """Whether lines that make one record look like a row each, which an open quote would merge."""
    return len(lines) > 1 and all(line.count(delimiter) == width - 1 for line in lines)


def _written(lines: Sequence[str], delimiter: str) -> list[str] | None:
    """The fields of a record as they are written, quotes included; None where it is not written as CSV is."""
    text = "".join(lines).removesuffix("\n").removesuffix("\r")
    pattern = re.compile(rf'("(?:[^"]|"")*+"|[^"{re.escape(delimiter)}\r\n]*)({re.escape(delimiter)}|\Z)')
    fields, place = [], 0
    while match := pattern.match(text, place):
        fields.append(match.group(1))
        place = match.end()
        if not match.group(2):
            return fields
    return None


def _records(lines: Sequence[str], delimiter: str) -> Iterator[tuple[int, int, int | None]]:
    """First line, the line after the last, and number of fields of each record; None where a line begins none."""
    start = 0
    while start < len(lines):
        parser, before = csv.reader(islice(lines, start, None), delimiter=delimiter, strict=True), start
        try:
            for fields in parser:
                end = before + parser.line_num
                if fields:
                    yield start, end, len(fields)
                start = end
        except csv.Error:
            yield start, before + parser.line_num, None
            start += 1
