"""A whole file beside the place where it is to appear."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_aside(target: str, data: bytes | memoryview) -> Iterator[str]:
    """The name of a file beside `target` that holds `data`, on the disk; it is gone again after the block, unless it was renamed.

    Raises:
        OSError: it cannot be written.
    """
    aside = f"{target}.{secrets.token_hex(4)}.part"
    try:
        with open(aside, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield aside
    finally:
        Path(aside).unlink(missing_ok=True)
