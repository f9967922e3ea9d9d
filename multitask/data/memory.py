"""Rows in memory, read as files are."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from multitask.config import SPLITS, RunConfig, TaskConfig
from multitask.config.files import MEMORY, Split, is_split
from multitask.config.messages import valid_names
from multitask.data.fingerprint import columns_read, values_hash
from multitask.data.memory_readers import Rows, memory_reader
from multitask.data.prepared import Tables, prepare_tables
from multitask.data.schema import Reader
from multitask.data.source import RowSource
from multitask.errors import UserError

MemoryTables = Mapping[str, Mapping[str, Rows]]


def tables_from_memory(config: RunConfig, tables: MemoryTables) -> Tables:
    """The tokenised tables of a run, some or all of whose rows are in memory.

    Rows are judged as those of files are, and named by their number, counted from 0: `tables.sst.train:17: …`. The same rows
    in the same order give the tables, and so the training, that a file of them would give; only the ids of rows that have
    none differ (`train:17`, from a file its name and line). They are cached by content as those of files are.

    Args:
        config: the run's config; splits in `tables` need no files, and files that are declared for them are not read.
        tables: rows by task and split. Rows are a pandas or polars DataFrame, anything else that speaks Arrow's PyCapsule
            interface, a Hugging Face `Dataset`, or a sequence of mappings, with the columns that `tasks.NAME.columns` names.
            A split's order is that of its rows; an index of pandas is not looked at.

    Raises:
        UserError: there is no such task or split, its rows are nothing that can be read, or as `read_split`; a split that
            is neither in files nor in `tables`.
    """
    declared = declare_memory(config, tables)
    sources: dict[tuple[str, str], RowSource] = {}
    for task, splits in tables.items():
        for split, rows in splits.items():
            source = MemorySource(declared.tasks[task], task, split, rows)
            sources[task, split] = source
            if split == "train":
                sources |= {(task, drawn): source.drawn(drawn) for drawn in _drawn(declared.tasks[task])}
    return prepare_tables(declared, sources)


def _drawn(task: TaskConfig) -> tuple[Split, ...]:
    return task.hold_out.splits if task.hold_out else ()


def declare_memory(config: RunConfig, tables: MemoryTables) -> RunConfig:
    """`config` with `memory:` in place of the files of every split in `tables`, as a run on them is described.

    Raises:
        UserError: there is no such task or split, or a contrastive task has dev rows.
    """
    if not isinstance(tables, Mapping):
        raise UserError(f"tables must be a dict of tasks to dicts of splits to rows, got {type(tables).__name__}")
    tasks, in_memory = dict(config.tasks), (MEMORY,)
    for name, splits in tables.items():
        if name not in tasks:
            raise UserError(f"tables.{name}: there is no such task; {valid_names(name, tasks)}")
        if not isinstance(splits, Mapping):
            raise UserError(f"tables.{name} must be a dict of splits to rows, got {type(splits).__name__}")
        for split in splits:
            if not is_split(split):
                raise UserError(f"tables.{name}.{split}: there is no such split; {valid_names(split, SPLITS)}")
        if "dev" in splits and tasks[name].kind.name == "contrastive" and not tasks[name].is_pair:
            raise UserError(
                f"tables.{name}.dev: without columns.text_pair there is no positive to look for: leave it out"
            )
        if twice := next((split for split in _drawn(tasks[name]) if split in splits), None):
            raise UserError(
                f"tables.{name}.{twice}: tasks.{name}.hold_out draws these rows from the training rows: leave it out"
            )
        drawn = _drawn(tasks[name]) if "train" in splits else ()
        files = tasks[name].files | dict.fromkeys([*splits, *drawn], in_memory)
        tasks[name] = tasks[name].model_copy(update={"files": files})
    return config.model_copy(update={"tasks": tasks})


class MemorySource:
    """One split in memory: a source of one part.

    Raises:
        UserError: the rows are nothing that can be read.
    """

    def __init__(self, declared: TaskConfig, task: str, split: str, rows: Rows) -> None:
        self.key = f"tables.{task}.{split}"
        self.parts: tuple[str, ...] = (self.key,)
        self._task, self._split = declared, split
        try:
            self._reader = memory_reader(rows, declared)
        except UserError as error:
            raise UserError(f"{self.key}: {error}") from None

    def drawn(self, split: str) -> "MemorySource":
        """The same rows as the source of a split that is drawn from them."""
        other = copy.copy(self)
        other._split = split
        return other

    def stem(self, part: int) -> str:
        """The split's name."""
        return self._split

    @contextmanager
    def open(self, part: int) -> Iterator[Reader]:
        """The reader of the rows."""
        yield self._reader

    def content_hash(self) -> str:
        """sha256 over the values of the columns that the task names."""
        return values_hash(self._reader, columns_read(self._task, self._split))

    def explained(self, problem: UserError) -> str:
        """The problem, which names the table."""
        return str(problem)
