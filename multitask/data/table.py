"""A tokenised split as a memory-mapped Arrow file."""

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from multitask.data.column import MappedColumn
from multitask.data.encoding import SEQUENCES, Encoded

RowNumbers = Sequence[int] | np.ndarray

# Token ids of a row's sequences.
TOKEN_COLUMNS = ("input_ids", "input_ids_pair", "input_ids_negative")


class TaskTable:
    """The rows of one prepared split, numbered from 0.

    Tokens, texts and numbers stay in the file: the processes of a host that map it share its pages, which the kernel
    may drop at any time. A process's own memory holds some bookkeeping for each record batch of 2,048 rows. Pickles as
    its path.

    `metadata`: `files`, `content_hash`, `tokenizer_id`, `pairing`, `max_length`, `special_tokens`, `rows`, `truncated` (rows cut to
    `max_length`), `bad_rows` (number left out), `bad_rows_listed` (the first of them as `file:line: reason`), `dropped` (rows
    left out by `drop_labels`, by label) and `repeated_ids` (None, or how many, and the first of them and what it repeats).

    Raises:
        FileNotFoundError: there is no such file.
        pyarrow.ArrowInvalid: the file is damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        reader = pa.ipc.open_file(pa.memory_map(self.path))
        self._batches = [reader.get_batch(number) for number in range(reader.num_record_batches - 1)]
        _, closing = reader.get_batch_with_custom_metadata(reader.num_record_batches - 1)
        self.metadata: dict[str, Any] = json.loads(closing[b"concord"])
        self._starts = np.cumsum([0, *(batch.num_rows for batch in self._batches)])
        self._lists: dict[tuple[str, int], tuple[np.ndarray, np.ndarray]] = {}

    def __reduce__(self) -> tuple[type["TaskTable"], tuple[str]]:
        return TaskTable, (self.path,)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self._starts[-1])

    @property
    def sequences(self) -> int:
        """Sequences of a row: 1, 2 (bi-encoder, contrastive pairs) or 3 (with a negative)."""
        return SEQUENCES[self.metadata["pairing"]]

    @cached_property
    def lengths(self) -> MappedColumn:
        """Tokens of each row's sequence, (rows,) int32; of the longest where it has several."""
        return self._numbers("length")

    @cached_property
    def labels(self) -> MappedColumn:
        """(rows,) float32, NaN where the file has no labels; sets of classes as numbers (`multitask.label_sets`) in float64."""
        return self._numbers("label")

    def ids(self, rows: RowNumbers) -> list[str]:
        """The rows' ids."""
        return [self._batches[batch].column("id")[row].as_py() for batch, row in self._places(rows)]

    def texts(self, rows: RowNumbers) -> list[tuple[str, str | None]]:
        """The rows' texts as they stand in the file; the second is None for single texts."""
        found = ((self._batches[batch], row) for batch, row in self._places(rows))
        return [(batch.column("text")[row].as_py(), batch.column("text_pair")[row].as_py()) for batch, row in found]

    def encoded(self, rows: RowNumbers) -> Encoded:
        """The rows' token ids: views of the mapped file."""
        places = self._places(rows)
        starts = self._second_starts[rows] if self.metadata["pairing"] == "cross" else None
        columns = TOKEN_COLUMNS[: self.sequences]
        return Encoded([[self._sequence(column, *place) for place in places] for column in columns], starts)

    @cached_property
    def _second_starts(self) -> MappedColumn:
        return self._numbers("second_start")

    def _places(self, rows: RowNumbers) -> list[tuple[int, int]]:
        """(record batch, row in it) of each row."""
        numbers = np.asarray(rows, np.int64)
        assert not len(numbers) or (numbers.min() >= 0 and numbers.max() < self.rows), "row number out of range"
        batches = np.searchsorted(self._starts, numbers, side="right") - 1
        return list(zip(batches.tolist(), (numbers - self._starts[batches]).tolist(), strict=True))

    def _sequence(self, column: str, batch: int, row: int) -> np.ndarray:
        if (column, batch) not in self._lists:
            array = self._batches[batch].column(column)
            self._lists[column, batch] = (array.offsets.to_numpy(), array.values.to_numpy())
        offsets, values = self._lists[column, batch]
        return values[offsets[row] : offsets[row + 1]]

    def _numbers(self, column: str) -> MappedColumn:
        return MappedColumn([batch.column(column).to_numpy() for batch in self._batches], self._starts)
