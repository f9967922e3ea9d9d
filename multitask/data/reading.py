"""One split of one task: its files read, validated and judged."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import BinaryIO

import pyarrow as pa

from multitask.config import RunConfig
from multitask.data.identifiers import IdLedger, Place
from multitask.data.location import locate, open_binary
from multitask.data.readers import READERS, file_format
from multitask.data.schema import CHUNK_ROWS, SCHEMA, BadRow
from multitask.data.validation import Row, RowError, validate
from multitask.errors import UserError

_SHOWN = 20
_SKIPPED_SHARE = 0.01
_BLOCK = 1 << 20


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
    """The files of one split as a stream of validated record batches, so that memory is bounded by one of them.

    `bad_rows` fills while `batches()` is consumed, once; at its end everything wrong is raised as one UserError.

    Raises:
        UserError: the task has no files for the split, or a `package:` name does not exist.
    """

    def __init__(self, config: RunConfig, task: str, split: str) -> None:
        self.task = config.tasks[task]
        self.bad_rows: list[BadRow] = []
        self.skips = config.data.on_bad_rows == "skip"
        self._name, self._split = task, split
        names = next((names for name, names in self.task.files.items() if name == split), ())
        if not names:
            raise UserError(f"tasks.{task}.files.{split}: the task has no {split} files")
        self.files = tuple(locate(config.data.root, name) for name in names)
        self._problems: list[str] = []
        self._ids = IdLedger()
        self._classes: set[int] = set()
        self._rows = 0

    def content_hash(self) -> str:
        """sha256 over the raw bytes of the files in order; nothing is parsed.

        Raises:
            UserError: files cannot be read, one line for each.
        """
        digest = hashlib.sha256()
        problems = []
        for file in self.files:
            try:
                with open_binary(file) as stream:
                    while block := stream.read(_BLOCK):
                        digest.update(block)
            except UserError as error:
                problems.append(f"tasks.{self._name}.files.{self._split}: {error}")
        if problems:
            raise UserError("\n".join(problems))
        return digest.hexdigest()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Record batches of `SCHEMA`, `CHUNK_ROWS` rows each but the last; none once the split is known to be refused."""
        rows: list[Row] = []
        self._check_stems()
        for number, file in enumerate(self.files):
            try:
                for row in self._read(number, file):
                    rows.append(row)
                    if len(rows) == CHUNK_ROWS:
                        if not self._is_refused():
                            yield _record_batch(rows)
                        rows = []
            except UserError as error:
                self._problems.append(f"tasks.{self._name}.files.{self._split}: {error}")
        if rows and not self._is_refused():
            yield _record_batch(rows)
        self._judge()

    def _is_refused(self) -> bool:
        return bool(self._problems) or (bool(self.bad_rows) and not self.skips)

    def _read(self, number: int, file: str) -> Iterator[Row]:
        before = self._rows + len(self.bad_rows)
        with open_binary(file) as stream:
            yield from self._read_open(number, file, stream)
        if self._rows + len(self.bad_rows) == before:
            raise UserError(f"{file} has no rows")

    def _read_open(self, number: int, file: str, stream: BinaryIO) -> Iterator[Row]:
        reader = READERS[self.task.format or file_format(file, self._name)](stream, file)
        wanted = self._wanted(file, reader.columns)
        stem = PurePosixPath(file).stem
        for line, values, problem in reader.records(list(wanted.values())):
            try:
                if problem:
                    raise RowError(problem)
                row = validate(dict(zip(wanted, values, strict=True)), self.task, f"{stem}:{line}")
            except RowError as error:
                self.bad_rows.append(BadRow(file, line, str(error)))
                continue
            self._note(row, Place(number, line))
            yield row

    def _note(self, row: Row, place: Place) -> None:
        self._rows += 1
        if self.task.columns.id is not None:
            self._ids.add(row.id, place)
        if row.label is not None and self._split == "train" and self.task.kind.classes:
            self._classes.add(int(row.label))

    def _wanted(self, file: str, available: list[str]) -> dict[str, str]:
        """Column by role. Only a test file may lack the label."""
        if not available:
            raise UserError(f"{file} is empty")
        columns = self.task.columns
        roles = ("id", "text", "text_pair", "negative", "label")
        wanted = {role: column for role in roles if (column := getattr(columns, role)) is not None}
        if self._split == "test" and columns.label not in available:
            wanted.pop("label", None)
        for role, column in wanted.items():
            if available.count(column) != 1:
                found = "occurs twice" if column in available else "is missing"
                key = f"tasks.{self._name}.columns.{role}"
                raise UserError(f"{file}: column {column!r} ({key}) {found}; the file's columns: {available}")
        return wanted

    def _check_stems(self) -> None:
        stems = [PurePosixPath(file).stem for file in self.files]
        if self.task.columns.id is None and len(set(stems)) < len(stems):
            twice = next(stem for stem in stems if stems.count(stem) > 1)
            key = f"tasks.{self._name}"
            self._problems.append(
                f"{key}.files.{self._split}: two files are named {twice}: set {key}.columns.id to tell their rows apart"
            )

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
            f"tasks.{self._name}.files.{self._split}: {bad} of {total} rows are bad{shown}: {rule}",
        ]

    def _judge_ids(self) -> list[str]:
        duplicates = self._ids.duplicates()
        lines = [
            f"{self.files[again.file]}:{again.line}: duplicate id, {self.files[first.file]}:{first.line} has the same"
            for again, first in duplicates[:_SHOWN]
        ]
        if len(duplicates) > _SHOWN:
            lines.append(
                f"tasks.{self._name}.files.{self._split}: {len(duplicates)} duplicate ids, the first {_SHOWN} are listed"
            )
        return lines

    def _judge_classes(self) -> list[str]:
        missing = [str(c) for c in range(self.task.kind.classes) if c not in self._classes]
        return [f"tasks.{self._name}.files.train: no training row has class {', '.join(missing)}"] if missing else []


def _record_batch(rows: list[Row]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(
        [pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), SCHEMA, strict=True)],
        schema=SCHEMA,
    )
