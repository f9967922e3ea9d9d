"""One split of one task: its rows read, validated and judged."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa

from multitask.config import RunConfig
from multitask.config.files import HoldOut
from multitask.data.identifiers import IdLedger, Place
from multitask.data.labels import LabelDroppedError, classes_of
from multitask.data.schema import CHUNK_ROWS, SCHEMA, BadRow, Reader, Record
from multitask.data.selection import Filter, held_out_split
from multitask.data.source import FileSource, RowSource
from multitask.data.validation import Row, RowReader
from multitask.data.values import RowError
from multitask.data.wanted import check_columns, wanted_columns
from multitask.errors import UserError

_SHOWN = 20


class Repeated(NamedTuple):
    """How many rows have the id of an earlier row, and where the first of them and that row stand, as `file:line`."""

    rows: int
    again: str
    first: str


@dataclass(frozen=True)
class ReadResult:
    """A split in memory: `table` of `SCHEMA`, the rows left out, sha256 over the raw bytes of the files in order."""

    table: pa.Table
    bad_rows: tuple[BadRow, ...]
    content_hash: str


def read_split(config: RunConfig, task: str, split: str) -> ReadResult:
    """Read and validate the files of one split as a whole.

    Raises:
        UserError: a file is missing, empty or lacks a column; bad rows (with `data.on_bad_rows=skip`: more than
            `data.bad_rows_limit`); duplicate ids in a test split; a class that no training row has. One line for each of them.
    """
    stream = SplitStream(config, task, split)
    table = pa.Table.from_batches(list(stream.batches()), SCHEMA)
    return ReadResult(table, tuple(stream.bad_rows), stream.content_hash())


class SplitStream:
    """The rows of one split as a stream of validated record batches, so that memory is bounded by one of them.

    They come from `source`, the task's files if none is given. `files`: names of its parts. `bad_rows` and `dropped`, the
    rows left out by `drop_labels` by label, fill while `batches()` is consumed, once; at its end everything wrong is raised as
    one UserError.

    Raises:
        UserError: there is no source and the task has no files for the split, or a `package:` name does not exist.
    """

    def __init__(self, config: RunConfig, task: str, split: str, source: RowSource | None = None) -> None:
        self.task = config.tasks[task]
        self.bad_rows: list[BadRow] = []
        self.dropped: Counter[str] = Counter()
        self.skips, self._limit = config.data.on_bad_rows == "skip", config.data.bad_rows_limit
        self._source = source or FileSource(config, task, split)
        self.files = self._source.parts
        self._name, self._split = task, split
        self._filter = Filter(self.task, split)
        self._problems: list[str] = []
        self._ids = IdLedger()
        self._classes: set[int] = set()
        self._rows = self._passed_over = 0

    def content_hash(self) -> str:
        """sha256 of everything that is read: the raw bytes of files in order.

        Raises:
            UserError: files cannot be read, one line for each.
        """
        return self._source.content_hash()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Record batches of `SCHEMA`, `CHUNK_ROWS` rows each but the last; none once the split is known to be refused."""
        rows: list[Row] = []
        self._check_stems()
        for part in range(len(self.files)):
            try:
                for row in self._read(part):
                    rows.append(row)
                    if len(rows) == CHUNK_ROWS:
                        if not self._is_refused():
                            yield _record_batch(rows)
                        rows = []
            except UserError as error:
                self._problems.append(self._source.explained(error))
        if rows and not self._is_refused():
            yield _record_batch(rows)
        self._judge()

    def repeated_ids(self) -> Repeated | None:
        """Ids that earlier rows have already, where that is no error; once `batches()` is consumed."""
        repeats = [] if self._split == "test" else self._ids.duplicates()
        if not repeats:
            return None
        again, first = repeats[0]
        return Repeated(
            len(repeats), f"{self.files[again.file]}:{again.line}", f"{self.files[first.file]}:{first.line}"
        )

    def _is_refused(self) -> bool:
        return bool(self._problems) or (bool(self.bad_rows) and not self.skips)

    @property
    def _seen(self) -> int:
        return self._rows + self._passed_over + self.dropped.total() + len(self.bad_rows)

    def _read(self, part: int) -> Iterator[Row]:
        before = self._seen
        with self._source.open(part) as reader:
            yield from self._validated(part, reader)
        if self._seen == before:
            raise UserError(f"{self.files[part]} has no rows")

    def _validated(self, part: int, reader: Reader) -> Iterator[Row]:
        name, stem = self.files[part], self._source.stem(part)
        wanted, looked_at = wanted_columns(self.task, self._split, reader.columns), self._filter.columns
        keys = {f"columns.{role}": column for role, column in wanted.items()}
        keys |= {f"where.{self._filter.split}.{column}": column for column in looked_at}
        check_columns(name, {f"tasks.{self._name}.{key}": column for key, column in keys.items()}, reader.columns)
        rows = RowReader(self.task, self._split, list(wanted))
        held_out = self.task.hold_out
        for record in _records(reader, [*wanted.values(), *looked_at], rows):
            try:
                if record.problem:
                    raise RowError(record.problem)
                if looked_at and not self._filter.keeps(record.values[len(wanted) :]):
                    self._passed_over += 1
                    continue
                row = rows.read(record.values, stem, record.line)
            except RowError as error:
                self.bad_rows.append(BadRow(name, record.line, str(error)))
                continue
            except LabelDroppedError as label:
                is_own = not held_out or self._is_drawn(held_out, *rows.texts(record.values))
                self.dropped[str(label)] += is_own
                self._passed_over += not is_own
                continue
            if held_out and not self._is_drawn(held_out, row.text, row.text_pair):
                self._passed_over += 1
                continue
            self._note(row, Place(part, record.line))
            yield row

    def _is_drawn(self, hold_out: HoldOut, text: str, text_pair: str | None) -> bool:
        is_drawn_from = self._split in ("train", *hold_out.splits)
        return not is_drawn_from or held_out_split(hold_out, text, text_pair) == self._split

    def _note(self, row: Row, place: Place) -> None:
        self._rows += 1
        if self.task.columns.id is not None:
            self._ids.add(row.id, place)
        if row.label is not None and self._split == "train" and self.task.kind.classes:
            self._classes.update(classes_of(self.task.kind, row.label))

    def _check_stems(self) -> None:
        stems = [self._source.stem(part) for part in range(len(self.files))]
        if self.task.columns.id is None and len(set(stems)) < len(stems):
            twice = next(stem for stem in stems if stems.count(stem) > 1)
            mend = f"set tasks.{self._name}.columns.id to tell their rows apart"
            self._problems.append(f"{self._source.key}: two files are named {twice}: {mend}")

    def _judge(self) -> None:
        lines = [*self._problems, *self._judge_bad_rows()]
        # A class may be missing only because its rows could not be read.
        if not lines and not self._rows:
            lines.append(f"{self._source.key}: no row is left: where, hold_out or drop_labels leave all of them out")
        if not lines and self._split == "train":
            lines += self._judge_classes()
        if self._split == "test":
            lines += self._judge_ids()
        if lines:
            raise UserError("\n".join(lines))

    def _judge_bad_rows(self) -> list[str]:
        bad, total, limit = len(self.bad_rows), self._rows + len(self.bad_rows), self._limit
        if not bad or (self.skips and bad <= limit * total):
            return []
        rule = (
            "mend them or set data.on_bad_rows=skip"
            if bad <= limit * total
            else f"mend them, they are more than the {100 * limit:g} % that data.on_bad_rows=skip leaves out (data.bad_rows_limit)"
        )
        shown = f", the first {_SHOWN} are listed" if bad > _SHOWN else ""
        if any("not valid UTF-8" in row.reason for row in self.bad_rows) and isinstance(self._source, FileSource):
            rule += f"; a file in Latin-1 needs tasks.{self._name}.layout.encoding=latin-1"
        return [
            *(str(row) for row in self.bad_rows[:_SHOWN]),
            f"{self._source.key}: {bad} of {total} rows are bad{shown}: {rule}",
        ]

    def _judge_ids(self) -> list[str]:
        duplicates = self._ids.duplicates()
        lines = [
            f"{self.files[again.file]}:{again.line}: duplicate id, {self.files[first.file]}:{first.line} has the same"
            for again, first in duplicates[:_SHOWN]
        ]
        if len(duplicates) > _SHOWN:
            lines.append(f"{self._source.key}: {len(duplicates)} duplicate ids, the first {_SHOWN} are listed")
        return lines

    def _judge_classes(self) -> list[str]:
        missing = [str(c) for c in range(self.task.kind.classes) if c not in self._classes]
        return [f"{self._source.key}: no training row has class {', '.join(missing)}"] if missing else []


def _records(reader: Reader, columns: Sequence[str], rows: RowReader) -> Iterator[Record]:
    """The rows of a part; those that an open quote has merged are told by the label that the first has alone."""
    for record in reader.records(columns):
        if record.apart and rows.has_label(record.apart[0].values):
            yield from record.apart
        else:
            yield record


def _record_batch(rows: list[Row]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(
        [pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), SCHEMA, strict=True)],
        schema=SCHEMA,
    )
