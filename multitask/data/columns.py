"""Files of columns: Parquet, and Arrow's own format."""

import io
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet

from multitask.config.files import Layout
from multitask.data.arrow import rows_of
from multitask.data.schema import CHUNK_ROWS, Record
from multitask.errors import UserError


class Columns:
    """Rows stand for lines and are counted from 1."""

    what: str
    schema: pa.Schema

    def __init__(self, stream: BinaryIO, file: str, layout: Layout | None = None) -> None:
        try:
            self._open(stream)
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{file}: not a {self.what} file: {error}") from None
        self._name = file
        self.columns = list(self.schema.names)

    def records(self, names: Sequence[str]) -> Iterator[Record]:
        """The wanted columns of every row; no other column is read."""
        line = 0
        try:
            for batch in self._batches(list(dict.fromkeys(names))):
                for values in rows_of(batch, names):
                    line += 1
                    yield Record(line, values)
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{self._name}: broken {self.what} file after row {line}: {error}") from None

    def _open(self, stream: BinaryIO) -> None:
        raise NotImplementedError

    def _batches(self, names: list[str]) -> Iterator[pa.RecordBatch]:
        raise NotImplementedError


class Parquet(Columns):
    """A Parquet file.

    Raises:
        UserError: it is not one.
    """

    what = "Parquet"

    def _open(self, stream: BinaryIO) -> None:
        self._file = pyarrow.parquet.ParquetFile(stream if stream.seekable() else io.BytesIO(stream.read()))
        self.schema = self._file.schema_arrow

    def _batches(self, names: list[str]) -> Iterator[pa.RecordBatch]:
        return self._file.iter_batches(CHUNK_ROWS, columns=names)


class Arrow(Columns):
    """An Arrow file or stream, as Hugging Face `datasets` keeps its data.

    Raises:
        UserError: it is not one.
    """

    what = "Arrow"

    def _open(self, stream: BinaryIO) -> None:
        is_file = stream.peek(6)[:6] == b"ARROW1"  # type: ignore[attr-defined]
        if is_file:
            reader = pa.ipc.open_file(stream if stream.seekable() else io.BytesIO(stream.read()))
            self._read = (reader.get_batch(number) for number in range(reader.num_record_batches))
        else:
            reader = pa.ipc.open_stream(stream)
            self._read = iter(reader)
        self.schema = reader.schema

    def _batches(self, names: list[str]) -> Iterator[pa.RecordBatch]:
        return (batch.select(names) for batch in self._read)
