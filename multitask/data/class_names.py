"""Numbers of classes that a data set keeps names for."""

import json
from collections.abc import Iterator, Sequence

import pyarrow as pa

from multitask.config import TaskConfig
from multitask.config.kind import label_places
from multitask.data.schema import Reader, Record


class NamedClasses:
    """The rows of `reader` with the name of a class in place of its number in `column`."""

    def __init__(self, reader: Reader, column: str, names: Sequence[str]) -> None:
        self.columns = reader.columns
        self._reader, self._column, self._names = reader, column, names

    def records(self, names: Sequence[str]) -> Iterator[Record]:
        """The rows; a number without a name stays."""
        place = names.index(self._column) if self._column in names else None
        for record in self._reader.records(names):
            number = record.values[place] if place is not None and record.values else None
            if isinstance(number, int) and 0 <= number < len(self._names):
                values = [*record.values]
                values[place] = self._names[number]  # type: ignore[index]
                record = record._replace(values=values)
            yield record


def with_class_names(reader: Reader, names: Sequence[str], task: TaskConfig) -> Reader:
    """`reader`, whose labels are numbers of these classes, with their names where the task's labels are such names."""
    known = label_places(task.kind)
    return NamedClasses(reader, str(task.columns.label), names) if any(name in known for name in names) else reader


def kept_class_names(schema: pa.Schema, column: str | None) -> tuple[str, ...]:
    """The names that a file of a Hugging Face data set keeps for the classes in a column; none if it keeps none."""
    about = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    feature = ((about.get("info") or {}).get("features") or {}).get(column) or {}
    return tuple(feature.get("names") or ()) if isinstance(feature, dict) else ()
