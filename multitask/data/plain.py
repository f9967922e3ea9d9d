"""Plain text: one text a line."""

from collections.abc import Iterator, Sequence
from typing import BinaryIO

from multitask.data.lines import Lines
from multitask.data.schema import Record


class PlainLines:
    """Each line that is not blank is a row with the one column `text`, without the blanks around it."""

    def __init__(self, stream: BinaryIO, file: str) -> None:
        self.columns = ["text"]
        self._lines = Lines(stream)

    def records(self, names: Sequence[str]) -> Iterator[Record]:
        """The text of every line that is not blank."""
        for line in self._lines:
            self._lines.begin_record()
            if text := line.strip():
                yield Record(self._lines.number, [text for _ in names])
