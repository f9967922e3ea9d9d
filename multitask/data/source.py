"""Where the rows of a split come from."""

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import PurePosixPath
from typing import BinaryIO, Protocol

from multitask.config import RunConfig
from multitask.config.files import MEMORY, TEXT_FORMATS, plain_name
from multitask.data.class_names import kept_class_names, with_class_names
from multitask.data.columns import Columns
from multitask.data.compression import DAMAGED, decompressed
from multitask.data.contents import check_contents, check_encoding, marked_encoding, peek
from multitask.data.expansion import expand
from multitask.data.fingerprint import columns_read, values_hash
from multitask.data.hub import is_data_set, load_data_set
from multitask.data.location import locate, open_binary
from multitask.data.memory_readers import memory_reader
from multitask.data.readers import READERS, file_format
from multitask.data.schema import Reader
from multitask.errors import UserError

_BLOCK = 1 << 20


class RowSource(Protocol):
    """The rows of one split: files, or one table in memory.

    `key`: what messages about the whole call it. `parts`: the names of its files or table, each of which is opened by
    itself.
    """

    key: str
    parts: tuple[str, ...]

    def stem(self, part: int) -> str:
        """What the ids of rows without one begin with."""
        ...

    def open(self, part: int) -> AbstractContextManager[Reader]:
        """A reader of the rows of a part; opened again it gives them again."""
        ...

    def content_hash(self) -> str:
        """sha256 of everything that is read."""
        ...

    def explained(self, problem: UserError) -> str:
        """What is wrong with a part, as a line for the user."""
        ...


class FileSource:
    """The files, and data sets of Hugging Face, that a task declares for a split.

    Raises:
        UserError: there are none, the rows are declared to be in memory, or a `package:` name, folder or pattern stands for none.
    """

    def __init__(self, config: RunConfig, task: str, split: str) -> None:
        self.key = f"tasks.{task}.files.{split}"
        self._name, self._split = task, split
        self._task, self._root = config.tasks[task], config.data.root
        names = next((names for name, names in self._task.files.items() if name == split), ())
        if not names:
            raise UserError(f"{self.key}: the task has no {split} files")
        if names == (MEMORY,):
            raise UserError(
                f"{self.key}: the rows are not in files: name some, or give multitask.train the rows as tables.{task}.{split}"
            )
        try:
            self.parts = tuple(part for name in names for part in self._stands_for(name))
        except UserError as error:
            raise UserError(self.explained(error)) from None

    def _stands_for(self, name: str) -> tuple[str, ...]:
        return (name,) if is_data_set(name) else expand(locate(self._root, name), self._task.format is not None)

    def stem(self, part: int) -> str:
        """The file's name without its suffix."""
        return PurePosixPath(plain_name(self.parts[part])).stem

    @contextmanager
    def open(self, part: int) -> Iterator[Reader]:
        """The reader of the file's format.

        Raises:
            UserError: the file cannot be read, its format is not known, or it is something else than its name says.
        """
        file = self.parts[part]
        if is_data_set(file):
            yield memory_reader(load_data_set(file), self._task)
            return
        with open_binary(file) as stream:
            try:
                yield self._reader(decompressed(stream), file)
            except DAMAGED as error:
                raise UserError(f"{file}: the compressed file is cut or damaged: {error}") from None
            except UnicodeDecodeError as error:
                where = f"{error.reason} at byte {error.start} of a block"
                raise UserError(
                    f"{file} is not {error.encoding}: {where}; see tasks.{self._name}.layout.encoding"
                ) from None

    def _reader(self, stream: BinaryIO, file: str) -> Reader:
        format, layout = self._task.format or file_format(file, self._name), self._task.layout
        head = peek(stream)
        check_contents(head, format, file, self._name)
        if format in TEXT_FORMATS and layout.encoding is None:
            if encoding := marked_encoding(head):
                layout = layout.model_copy(update={"encoding": encoding})
            else:
                check_encoding(head, file, self._name)
        reader = READERS[format](stream, file, layout)
        if isinstance(reader, Columns):
            return with_class_names(reader, kept_class_names(reader.schema, self._task.columns.label), self._task)
        return reader

    def content_hash(self) -> str:
        """sha256 over the raw bytes of the files in order; nothing is parsed. Of a data set by name the values count.

        Raises:
            UserError: files cannot be read, one line for each.
        """
        digest = hashlib.sha256()
        problems = []
        for file in self.parts:
            try:
                if is_data_set(file):
                    reader = memory_reader(load_data_set(file), self._task)
                    digest.update(values_hash(reader, columns_read(self._task, self._split)).encode())
                    continue
                with open_binary(file) as stream:
                    while block := stream.read(_BLOCK):
                        digest.update(block)
            except UserError as error:
                problems.append(self.explained(error))
        if problems:
            raise UserError("\n".join(problems))
        return digest.hexdigest()

    def explained(self, problem: UserError) -> str:
        """The key before the problem, which names the file."""
        return f"{self.key}: {problem}"
