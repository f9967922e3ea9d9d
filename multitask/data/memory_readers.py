"""Readers of rows in memory, by what the rows can do: no library of frames is imported."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import pyarrow as pa

from multitask.config import TaskConfig
from multitask.data.arrow import rows_of
from multitask.data.class_names import with_class_names
from multitask.data.schema import CHUNK_ROWS, Reader, Record
from multitask.errors import UserError


class ArrowStream(Protocol):
    """Arrow's PyCapsule interface: an Arrow table or record batch, a polars DataFrame, and others."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object: ...


class PandasFrame(Protocol):
    """What is read of a pandas DataFrame."""

    @property
    def columns(self) -> Iterable[Any]: ...
    @property
    def iloc(self) -> Any: ...


class HuggingFaceDataset(Protocol):
    """What is read of a Hugging Face `datasets.Dataset`."""

    @property
    def column_names(self) -> list[str]: ...
    @property
    def features(self) -> Mapping[str, Any] | None: ...
    def with_format(self, type: str) -> Any: ...
    def __len__(self) -> int: ...


Rows = PandasFrame | ArrowStream | HuggingFaceDataset | Sequence[Mapping[str, object]]


def memory_reader(rows: Rows, task: TaskConfig) -> Reader:
    """A reader of `rows`, which counts them from 0 in their order; it may be asked for its records again.

    A dataset whose label column has numbers of classes gives their names where these are the task's labels.

    Raises:
        UserError: the rows are nothing that can be read.
    """
    if hasattr(rows, "with_format") and hasattr(rows, "__len__"):
        features: Mapping[str, Any] = getattr(rows, "features", None) or {}
        names = getattr(features.get(str(task.columns.label)), "names", None) or ()
        return with_class_names(_Dataset(rows), names, task)
    if hasattr(rows, "iloc") and hasattr(rows, "columns"):
        return _Frame(rows)
    if hasattr(rows, "__arrow_c_stream__"):
        # A single column has the interface, too.
        with contextlib.suppress(pa.ArrowInvalid):
            return _Table(rows)
    if isinstance(rows, Sequence) and not isinstance(rows, str | bytes):
        return _Mappings(rows)
    kinds = "a pandas or polars DataFrame, an Arrow table, a Hugging Face Dataset or a list of dicts"
    raise UserError(f"rows must be {kinds}, got {type(rows).__name__}")


class _Mappings:
    """A key that a row lacks is a missing field."""

    def __init__(self, rows: Sequence[Mapping[str, object]]) -> None:
        self._rows = rows
        self.columns = list(dict.fromkeys(key for row in rows if isinstance(row, Mapping) for key in row))

    def records(self, names: Sequence[str]) -> Iterator[Record]:
        for number, row in enumerate(self._rows):
            if isinstance(row, Mapping):
                yield Record(number, [row.get(name) for name in names])
            else:
                yield Record(number, [], f"not a dict but {type(row).__name__}")


class _Frame:
    """Read by value and not through Arrow, which refuses a whole column for one odd value."""

    def __init__(self, frame: Any) -> None:
        self._frame, self.columns = frame, list(frame.columns)

    def records(self, names: Sequence[str]) -> Iterator[Record]:
        for start in range(0, len(self._frame), CHUNK_ROWS):
            part = self._frame.iloc[start : start + CHUNK_ROWS]
            columns = [part[name].astype(object) for name in names]
            values = zip(*(column.where(column.notna(), None).tolist() for column in columns), strict=True)
            for number, row in enumerate(values, start):
                yield Record(number, row)


class _Table:
    def __init__(self, rows: Any) -> None:
        self._table = pa.table(rows)
        self.columns = list(self._table.column_names)

    def records(self, names: Sequence[str]) -> Iterator[Record]:
        batches = self._table.to_batches(max_chunksize=CHUNK_ROWS)
        for number, row in enumerate(row for batch in batches for row in rows_of(batch, names)):
            yield Record(number, row)


class _Dataset:
    """Read through its own Arrow format, which follows a selection or shuffle and ignores what else is set."""

    def __init__(self, dataset: Any) -> None:
        self._dataset, self.columns = dataset.with_format("arrow"), list(dataset.column_names)

    def records(self, names: Sequence[str]) -> Iterator[Record]:
        for start in range(0, len(self._dataset), CHUNK_ROWS):
            rows = rows_of(self._dataset[start : start + CHUNK_ROWS], names)
            for number, row in enumerate(rows, start):
                yield Record(number, row)
