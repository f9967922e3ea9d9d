"""What every reader gives and every table holds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple, Protocol

import pyarrow as pa

from multitask.config.files import Layout

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("text_pair", pa.string()),
        pa.field("negative", pa.string()),
        pa.field("label", pa.float64()),
    ]
)
CHUNK_ROWS = 2048


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be used, of a file or a table in memory.

    `line` counts a file's physical lines from 1, the header included (Parquet: rows from 1), a table's rows from 0.
    """

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"


class Record(NamedTuple):
    """A row as it stands in a file or in memory: the values of the wanted columns, or why they could not be read (`problem`).

    `apart`: where it lies on several lines because of a quote that may have been left open, the rows that they would be alone.
    """

    line: int
    values: Sequence[object]
    problem: str = ""
    apart: "Sequence[Record]" = ()


class Reader(Protocol):
    """Knows the columns of a file or of a table in memory, and then streams its rows; a file format is made of an open file.

    `columns` is empty where the file or table is. `records(names)` may be called once and gives the values of those columns, in
    that order. Memory is bounded by a few rows.
    """

    columns: list[str]

    def __init__(self, stream: BinaryIO, file: str, layout: Layout | None = None) -> None: ...

    def records(self, names: Sequence[str]) -> Iterator[Record]:
        """The rows of the file, blank lines left out."""
        ...
