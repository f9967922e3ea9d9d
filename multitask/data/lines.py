"""Physical lines of a text file, counted, and put back where a record turns out to be broken."""

from collections import deque
from collections.abc import Iterator
from typing import BinaryIO


class Lines:
    """Lines decoded from UTF-8, line ends kept; `number` is that of the last line given, counted from 1.

    A byte order mark at the start is dropped. Bytes that are not UTF-8 become lone surrogates, which validation reports
    in the row that has them, so that one bad byte costs one row and not the file.
    """

    number: int

    def __init__(self, stream: BinaryIO) -> None:
        self.number = 0
        self._stream = stream
        self._returned: deque[str] = deque()
        self._record: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._returned.popleft() if self._returned else self._read()
        self.number += 1
        self._record.append(line)
        return line

    def begin_record(self) -> int:
        """Forget the lines of the record before; give the number of the line at which the next one starts."""
        self._record.clear()
        return self.number + 1

    def keep_first(self) -> None:
        """Put back every line of this record but its first."""
        self._returned.extendleft(reversed(self._record[1:]))
        self.number -= max(0, len(self._record) - 1)
        del self._record[1:]

    def _read(self) -> str:
        line = next(self._stream).decode("utf-8", "surrogateescape")
        return line.removeprefix("\ufeff") if self.number == 0 else line
