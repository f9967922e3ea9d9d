"""Reads the file of an offline W&B run: LevelDB's log format, with a protobuf message in each record."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

MAGIC = b":W&B"
_PREFIX = 7  # the magic word, W&B's own number of 2 bytes, the version
_BLOCK = 32768
_HEADER = struct.Struct("<IHB")
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


@dataclass(frozen=True)
class LogEnd:
    """Where reading ended: `whole` bytes hold whole records; `torn` where more bytes follow, `damaged` where they are wrong."""

    whole: int
    torn: bool = False
    damaged: bool = False


def read_log(data: bytes) -> Iterator[Any]:
    """The `Record` messages of a `.wandb` file, and at last a `LogEnd`.

    A process that is killed leaves a torn record behind: the file ends in the middle of it. What is wrong elsewhere is damage.
    """
    from wandb.proto import wandb_internal_pb2

    if data[:4] != MAGIC[: len(data[:4])]:
        yield LogEnd(0, damaged=True)
        return
    whole, payload = min(_PREFIX, len(data)), b""
    for kind, chunk, after in _chunks(data):
        if kind not in (_FULL, _FIRST, _MIDDLE, _LAST):
            yield LogEnd(whole, damaged=True)
            return
        payload = chunk if kind in (_FULL, _FIRST) else payload + chunk
        if kind in (_FULL, _LAST):
            record: Any = vars(wandb_internal_pb2)["Record"]()
            record.ParseFromString(payload)
            yield record
            whole = after
    yield LogEnd(whole, torn=bool(data[whole:].strip(b"\0")))


def _chunks(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Kind, content and end of each whole chunk; kind 0 stands for a chunk whose checksum is wrong."""
    offset = _PREFIX
    while offset + _HEADER.size <= len(data):
        left = _BLOCK - offset % _BLOCK
        if left < _HEADER.size:
            offset += left
            continue
        _, length, kind = _HEADER.unpack_from(data, offset)
        start, end = offset + _HEADER.size, offset + _HEADER.size + length
        if kind == 0 and length == 0:
            return
        if end > len(data):
            if _holds_a_chunk(data, offset + 1):
                yield 0, b"", offset
            return
        yield (kind if _is_good(data, offset) else 0), data[start:end], end
        offset = end


def _holds_a_chunk(data: bytes, start: int) -> bool:
    """Whether a good chunk begins at `start` or later: then what lies before it was not cut short, but damaged in its length."""
    return any(
        data[at + 6] in (_FULL, _FIRST, _MIDDLE, _LAST) and _is_good(data, at) for at in range(start, len(data) - 6)
    )


def _is_good(data: bytes, offset: int) -> bool:
    """Whether the chunk at `offset` lies whole within the file, with its checksum."""
    checksum, length, _ = _HEADER.unpack_from(data, offset)
    end = offset + _HEADER.size + length
    return end <= len(data) and zlib.crc32(memoryview(data)[offset + 6 : end]) == checksum
