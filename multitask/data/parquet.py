"""Parquet."""

from collections.abc import Iterator, Sequence
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet

from multitask.data.schema import CHUNK_ROWS, Record
from multitask.errors import UserError


class Parquet:
    """A Parquet file; rows stand for lines and are counted from 1.

    Raises:
        UserError: it is not a Parquet file.
    """

    def __init__(self, stream: BinaryIO, file: str) -> None:
        try:
            self._file = pyarrow.parquet.ParquetFile(stream)
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{file}: not a Parquet file: {error}") from None
        self._name = file
        self.columns = list(self._file.schema_arrow.names)

    def records(self, names: Sequence[str]) -> Iterator[Record]:
        """The wanted columns of every row; no other column is read."""
        line = 0
        try:
            for batch in self._file.iter_batches(CHUNK_ROWS, columns=list(dict.fromkeys(names))):
                for values in zip(*(_values(batch.column(name)) for name in names), strict=True):
                    line += 1
                    yield Record(line, values)
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{self._name}: broken Parquet file after row {line}: {error}") from None


def _values(column: pa.Array) -> list[object]:
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        binary = column.cast(pa.large_binary() if pa.types.is_large_string(column.type) else pa.binary())
        return [value if value is None else value.decode("utf-8", "surrogateescape") for value in binary.to_pylist()]
