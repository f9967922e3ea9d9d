"""Rows of Arrow record batches."""

from collections.abc import Iterator, Sequence

import pyarrow as pa


def rows_of(batch: pa.RecordBatch | pa.Table, names: Sequence[str]) -> Iterator[tuple[object, ...]]:
    """The values of the columns `names` of every row. Text that is not UTF-8 has lone surrogates in its place."""
    return zip(*(_values(batch.column(name)) for name in names), strict=True)


def _values(column: pa.Array | pa.ChunkedArray) -> list[object]:
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        binary = column.cast(pa.large_binary() if pa.types.is_large_string(column.type) else pa.binary())
        return [value if value is None else value.decode("utf-8", "surrogateescape") for value in binary.to_pylist()]
