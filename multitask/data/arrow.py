"""Rows of Arrow record batches."""

from collections.abc import Iterator, Sequence

import pyarrow as pa


def rows_of(batch: pa.RecordBatch | pa.Table, names: Sequence[str]) -> Iterator[tuple[object, ...]]:
    """The values of the columns `names` of every row. Text that is not UTF-8 has lone surrogates in its place."""
    return zip(*(_values(batch.column(name)) for name in names), strict=True)


def _values(column: pa.Array | pa.ChunkedArray) -> list[object]:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return _decoded(column)
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        return _decoded(column.cast(pa.large_binary() if pa.types.is_large_string(kind) else pa.binary()))


def _decoded(column: pa.Array | pa.ChunkedArray) -> list[object]:
    return [value if value is None else value.decode("utf-8", "surrogateescape") for value in column.to_pylist()]
