"""Physical lines of a text file, counted, and put back where a record turns out to be broken."""

import io
from collections import deque
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from multitask.config.files import Layout


class Lines:
    """Decoded lines, line ends kept; `number` is that of the last line given, counted from 1.

    A byte order mark at the start is dropped. Bytes that are not UTF-8 become lone surrogates, which validation reports
    in the row that has them, so that one bad byte costs one row and not the file; in another encoding they end the reading
    with a UnicodeDecodeError. Lines that begin with `comment` are counted and left out, but inside a record.

    `record`: the lines since `begin_record`, of which the first is number `start`.
    """

    number: int
    record: list[str]

    def __init__(self, stream: BinaryIO, layout: Layout) -> None:
        self.number = 0
        self.record = []
        self._comment = layout.comment
        self._decoded = _decoded(stream, layout.encoding)
        self._returned: deque[str] = deque()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        while True:
            line = self._returned.popleft() if self._returned else self._read()
            self.number += 1
            if self._comment is None or self.record or not line.startswith(self._comment):
                self.record.append(line)
                return line

    @property
    def start(self) -> int:
        """Number of the record's first line."""
        return self.number - len(self.record) + 1

    def begin_record(self) -> None:
        """Forget the lines of the record before."""
        self.record.clear()

    def keep_first(self) -> None:
        """Put back every line of this record but its first."""
        self.put_back(self.record[1:])

    def put_back(self, lines: Sequence[str]) -> None:
        """Give these lines, the last ones of this record, again."""
        self._returned.extendleft(reversed(lines))
        self.number -= len(lines)
        del self.record[len(self.record) - len(lines) :]

    def _read(self) -> str:
        line = next(self._decoded)
        return line.removeprefix("\ufeff") if self.number == 0 else line


def _decoded(stream: BinaryIO, encoding: str | None) -> Iterator[str]:
    if encoding in (None, "utf-8", "utf-8-sig"):
        return (line.decode("utf-8", "surrogateescape") for line in stream)
    return io.TextIOWrapper(stream, encoding, newline="\n")
