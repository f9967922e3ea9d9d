"""What identifies rows that are in no file."""

import hashlib
from collections.abc import Iterable

from multitask.config import TaskConfig
from multitask.data.schema import Reader
from multitask.data.selection import Filter


def columns_read(task: TaskConfig, split: str) -> list[str]:
    """The columns of a table of `split` that decide its rows."""
    return [*(name for name in task.columns.model_dump().values() if name is not None), *Filter(task, split).columns]


def values_hash(reader: Reader, columns: Iterable[str]) -> str:
    """sha256 over the values of the columns, row by row: the same for a frame and a list.

    Columns that are missing or ambiguous are left out: they are told of when the rows are read.
    """
    names = [name for name in columns if reader.columns.count(name) == 1]
    digest = hashlib.sha256(repr(names).encode())
    for record in reader.records(names):
        digest.update(repr((*record.values, record.problem)).encode())
    return digest.hexdigest()
