"""One split of one task: its rows read, validated and judged."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa

from multitask.config import RunConfig
from multitask.data.identifiers import IdLedger, Place
from multitask.data.schema import CHUNK_ROWS, SCHEMA, BadRow, Reader, Record
from multitask.data.source import FileSource, RowSource
from multitask.data.validation import Row, RowError, parse_label, validate
from multitask.errors import UserError

_SHOWN = 20
_SKIPPED_SHARE = 0.01


@dataclass(frozen=True)
class ReadResult:
    """A split in memory: `table` of `SCHEMA`, the rows left out, sha256 over the raw bytes of the files in order."""

    table: pa.Table
    bad_rows: tuple[BadRow, ...]
    content_hash: str


def read_split(config: RunConfig, task: str, split: str) -> ReadResult:
    """Read and validate the files of one split as a whole.

    Raises:
        UserError: a file is missing, empty or lacks a column; bad rows (with `data.on_bad_rows=skip`: more than 1 % of
            them); duplicate ids; a class that no training row has. One line for each of them.
    """
    stream = SplitStream(config, task, split)
    table = pa.Table.from_batches(list(stream.batches()), SCHEMA)
    return ReadResult(table, tuple(stream.bad_rows), stream.content_hash())


class SplitStream:
    """The rows of one split as a stream of validated record batches, so that memory is bounded by one of them.

    They come from `source`, the task's files if none is given. `files`: names of its parts. `bad_rows` fills while
    `batches()` is consumed, once; at its end everything wrong is raised as one UserError.

    Raises:
        UserError: there is no source and the task has no files for the split, or a `package:` name does not exist.
    """

    def __init__(self, config: RunConfig, task: str, split: str, source: RowSource | None = None) -> None:
        self.task = config.tasks[task]
        self.bad_rows: list[BadRow] = []
        self.skips = config.data.on_bad_rows == "skip"
        self._source = source or FileSource(config, task, split)
        self.files = self._source.parts
        self._name, self._split = task, split
        self._problems: list[str] = []
        self._ids = IdLedger()
        self._classes: set[int] = set()
        self._rows = 0

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

    def _is_refused(self) -> bool:
        return bool(self._problems) or (bool(self.bad_rows) and not self.skips)

    def _read(self, part: int) -> Iterator[Row]:
        before = self._rows + len(self.bad_rows)
        with self._source.open(part) as reader:
            yield from self._validated(part, reader)
        if self._rows + len(self.bad_rows) == before:
            raise UserError(f"{self.files[part]} has no rows")

    def _validated(self, part: int, reader: Reader) -> Iterator[Row]:
        name, stem = self.files[part], self._source.stem(part)
        wanted = self._wanted(name, reader.columns)
        for record in self._records(reader, wanted):
            try:
                if record.problem:
                    raise RowError(record.problem)
                row = validate(dict(zip(wanted, record.values, strict=True)), self.task, f"{stem}:{record.line}")
            except RowError as error:
                self.bad_rows.append(BadRow(name, record.line, str(error)))
                continue
            self._note(row, Place(part, record.line))
            yield row

    def _records(self, reader: Reader, wanted: Mapping[str, str]) -> Iterator[Record]:
        """The rows of a part; those that an open quote has merged are told by the label that the first has alone."""
        for record in reader.records(list(wanted.values())):
            if record.apart and self._has_label(dict(zip(wanted, record.apart[0].values, strict=True))):
                yield from record.apart
            else:
                yield record

    def _has_label(self, values: Mapping[str, object]) -> bool:
        try:
            parse_label(values["label"], "", self.task.kind)
        except (KeyError, RowError):
            return False
        return True

    def _note(self, row: Row, place: Place) -> None:
        self._rows += 1
        if self.task.columns.id is not None:
            self._ids.add(row.id, place)
        if row.label is not None and self._split == "train" and self.task.kind.classes:
            self._classes.add(int(row.label))

    def _wanted(self, name: str, available: list[str]) -> dict[str, str]:
        """Column by role. Only a test file may lack the label."""
        if not available:
            raise UserError(f"{name} is empty")
        columns = self.task.columns
        roles = ("id", "text", "text_pair", "negative", "label")
        wanted = {role: column for role in roles if (column := getattr(columns, role)) is not None}
        if self._split == "test" and columns.label not in available:
            wanted.pop("label", None)
        for role, column in wanted.items():
            if available.count(column) != 1:
                found = "occurs twice" if column in available else "is missing"
                key = f"tasks.{self._name}.columns.{role}"
                listed = f"the {self._source.noun}'s columns: {available}"
                raise UserError(f"{name}: column {column!r} ({key}) {found}; {listed}")
        return wanted

    def _check_stems(self) -> None:
        stems = [self._source.stem(part) for part in range(len(self.files))]
        if self.task.columns.id is None and len(set(stems)) < len(stems):
            twice = next(stem for stem in stems if stems.count(stem) > 1)
            mend = f"set tasks.{self._name}.columns.id to tell their rows apart"
            self._problems.append(f"{self._source.key}: two files are named {twice}: {mend}")

    def _judge(self) -> None:
        lines = [*self._problems, *self._judge_bad_rows()]
        # A class may be missing only because its rows could not be read.
        if not lines and self._split == "train":
            lines += self._judge_classes()
        lines += self._judge_ids()
        if lines:
            raise UserError("\n".join(lines))

    def _judge_bad_rows(self) -> list[str]:
        bad, total = len(self.bad_rows), self._rows + len(self.bad_rows)
        if not bad or (self.skips and bad <= _SKIPPED_SHARE * total):
            return []
        rule = (
            "mend them or set data.on_bad_rows=skip"
            if bad <= _SKIPPED_SHARE * total
            else "mend them, they are more than the 1 % that data.on_bad_rows=skip leaves out"
        )
        shown = f", the first {_SHOWN} are listed" if bad > _SHOWN else ""
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


def _record_batch(rows: list[Row]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(
        [pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), SCHEMA, strict=True)],
        schema=SCHEMA,
    )
