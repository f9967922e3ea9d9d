"""Plain text: one text a line."""

from collections.abc import Iterator, Sequence
from typing import BinaryIO

from multitask.config.files import Layout
from multitask.data.lines import Lines
from multitask.data.schema import Record


class PlainLines:
    """Each line that is not blank is a row with the one column `text`, without the blanks around it.

    A line ends with a line feed, a carriage return, or both.
    """

    def __init__(self, stream: BinaryIO, file: str, layout: Layout | None = None) -> None:
        self.columns = ["text"]
        self._lines = Lines(stream, layout or Layout())

    def records(self, names: Sequence[str]) -> Iterator[Record]:
        """The text of every line that is not blank."""
        number = 0
        for read in self._lines:
            self._lines.begin_record()
            for line in _at_returns(read):
                number += 1
                if text := line.strip():
                    yield Record(number, [text for _ in names])


def _at_returns(line: str) -> list[str]:
    """The lines that end with a carriage return in what ends with a line feed."""
    text = line.removesuffix("\n").removesuffix("\r")
    return text.split("\r")
