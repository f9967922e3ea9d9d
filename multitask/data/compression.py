"""Compressed files, known by their first bytes."""

import bz2
import gzip
import io
import lzma
from collections.abc import Callable
from typing import BinaryIO, cast

import pyarrow as pa

from multitask.data.contents import PEEKED, peek


def _zstandard(stream: BinaryIO) -> BinaryIO:
    return cast(BinaryIO, pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), "zstd"))


def _xz(stream: BinaryIO) -> BinaryIO:
    return cast(BinaryIO, lzma.LZMAFile(stream))


_OPENERS: dict[bytes, Callable[[BinaryIO], BinaryIO]] = {
    b"\x1f\x8b": lambda stream: cast(BinaryIO, gzip.GzipFile(fileobj=stream)),
    b"BZh": lambda stream: cast(BinaryIO, bz2.BZ2File(stream)),
    b"\xfd7zXZ\0": _xz,
    b"\x28\xb5\x2f\xfd": _zstandard,
}
# What the openers raise while they read a file that is cut or damaged.
DAMAGED = (EOFError, gzip.zlib.error, lzma.LZMAError)  # type: ignore[attr-defined]


def decompressed(stream: BinaryIO) -> BinaryIO:
    """The plain bytes of a file that may be compressed (gzip, bzip2, xz, Zstandard), as a stream that `peek` can look into."""
    plain = io.BufferedReader(cast(io.RawIOBase, stream), PEEKED)
    head = peek(plain)
    for mark, opener in _OPENERS.items():
        if head.startswith(mark):
            return io.BufferedReader(cast(io.RawIOBase, opener(plain)), PEEKED)
    return plain
