"""Reads the file of an offline W&B run: a LevelDB log of protobuf records."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

_BLOCK = 32768
_HEADER = struct.Struct("<IHB")
_FULL, _FIRST, _LAST = 1, 2, 4


class OfflineRun:
    """What one `offline-run-*` folder recorded."""

    def __init__(self, folder: Path) -> None:
        self.id = ""
        self.config: dict[str, Any] = {}
        self.history: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}
        self.metrics: list[Any] = []
        self.artifacts: list[Any] = []
        self.exit_code: int | None = None
        self.kinds: set[str] = set()
        self.run: Any = None
        for record in _records(next(folder.glob("run-*.wandb"))):
            self._take(record)

    def points(self, key: str) -> list[tuple[int, Any]]:
        """The (step, value) pairs of one metric, in the order in which they were recorded."""
        return [(row["step"], row[key]) for row in self.history if key in row]

    def _take(self, record: Any) -> None:
        kind = record.WhichOneof("record_type")
        self.kinds.add(kind)
        if kind == "run":
            self.id, self.run = record.run.run_id, record.run
            self.config |= _values(record.run.config.update)
        elif kind == "config":
            self.config |= _values(record.config.update)
        elif kind == "history":
            self.history.append(_values(record.history.item))
        elif kind == "summary":
            self.summary |= _values(record.summary.update)
        elif kind == "metric":
            self.metrics.append(record.metric)
        elif kind == "artifact":
            self.artifacts.append(record.artifact)
        elif kind == "request" and record.request.WhichOneof("request_type") == "log_artifact":
            self.artifacts.append(record.request.log_artifact.artifact)
        elif kind == "exit":
            self.exit_code = record.exit.exit_code


def read_runs(folder: Path) -> list[OfflineRun]:
    """The offline runs below a run folder, oldest first."""
    return [OfflineRun(path) for path in sorted((folder / "wandb").glob("offline-run-*"))]


def _values(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def _records(path: Path) -> Iterator[Any]:
    data = path.read_bytes()
    assert data[:4] == b":W&B"
    offset, payload = 7, b""
    while offset + _HEADER.size <= len(data):
        left = _BLOCK - offset % _BLOCK
        if left < _HEADER.size:
            offset += left
            continue
        _, length, kind = _HEADER.unpack_from(data, offset)
        chunk = data[offset + _HEADER.size : offset + _HEADER.size + length]
        offset += _HEADER.size + length
        payload = chunk if kind in (_FULL, _FIRST) else payload + chunk
        if kind in (_FULL, _LAST) and len(chunk) == length:
            record = wandb_internal_pb2.Record()
            record.ParseFromString(payload)
            yield record
