"""Where the rows of a split come from."""

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import PurePosixPath
from typing import Protocol

from multitask.config import RunConfig
from multitask.config.task import MEMORY
from multitask.data.location import locate, open_binary
from multitask.data.readers import READERS, file_format
from multitask.data.schema import Reader
from multitask.errors import UserError

_BLOCK = 1 << 20


class RowSource(Protocol):
    """The rows of one split: files, or one table in memory.

    `key`: what messages about the whole call it. `parts`: the names of its files or table, each of which is opened by
    itself; what a part is is its `noun`.
    """

    key: str
    parts: tuple[str, ...]
    noun: str

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
    """The files that a task declares for a split.

    Raises:
        UserError: there are none, the rows are declared to be in memory, or a `package:` name does not exist.
    """

    noun = "file"

    def __init__(self, config: RunConfig, task: str, split: str) -> None:
        self.key = f"tasks.{task}.files.{split}"
        self._task, self._format, self._layout = task, config.tasks[task].format, config.tasks[task].layout
        names = next((names for name, names in config.tasks[task].files.items() if name == split), ())
        if not names:
            raise UserError(f"{self.key}: the task has no {split} files")
        if names == (MEMORY,):
            raise UserError(
                f"{self.key}: the rows are not in files: name some, or give multitask.train the rows as tables.{task}.{split}"
            )
        self.parts = tuple(locate(config.data.root, name) for name in names)

    def stem(self, part: int) -> str:
        """The file's name without its suffix."""
        return PurePosixPath(self.parts[part]).stem

    @contextmanager
    def open(self, part: int) -> Iterator[Reader]:
        """The reader of the file's format.

        Raises:
            UserError: the file cannot be read, or its format is not known.
        """
        file = self.parts[part]
        with open_binary(file) as stream:
            yield READERS[self._format or file_format(file, self._task)](stream, file, self._layout)

    def content_hash(self) -> str:
        """sha256 over the raw bytes of the files in order; nothing is parsed.

        Raises:
            UserError: files cannot be read, one line for each.
        """
        digest = hashlib.sha256()
        problems = []
        for file in self.parts:
            try:
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
