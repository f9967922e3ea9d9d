"""Parquet."""

from collections.abc import Iterator, Sequence
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet

from multitask.config.files import Layout
from multitask.data.arrow import rows_of
from multitask.data.schema import CHUNK_ROWS, Record
from multitask.errors import UserError


class Parquet:
    """A Parquet file; rows stand for lines and are counted from 1.

    Raises:
        UserError: it is not a Parquet file.
    """

    def __init__(self, stream: BinaryIO, file: str, layout: Layout | None = None) -> None:
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
                for values in rows_of(batch, names):
                    line += 1
                    yield Record(line, values)
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{self._name}: broken Parquet file after row {line}: {error}") from None
