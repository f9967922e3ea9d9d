"""Splits tokenised once, into memory-mapped Arrow files."""

import contextlib
import fcntl
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np
import pyarrow as pa
from transformers import PreTrainedTokenizerFast

from multitask.config import RunConfig
from multitask.config.kind import Kind, MultiLabel
from multitask.data.encoding import SEQUENCES, Pairing, encode, lengths, pairing_of
from multitask.data.reading import SplitStream
from multitask.data.source import RowSource
from multitask.data.table import TOKEN_COLUMNS, TaskTable
from multitask.errors import UserError

_FORMAT = 3
# What of a task decides how its files are read.
_READ = {"columns", "kind", "format", "layout", "where", "hold_out", "thresholds", "drop_labels"}
_ABANDONED_SECONDS = 24 * 3600
_BAD_ROWS_LISTED = 20


class TableStore(Protocol):
    """Where tables lie that others have tokenised, by the name of their file, which says what they are made of."""

    def fetch(self, name: str, file: Path) -> bool:
        """Copy the table to the local `file`; False where there is none that is whole."""


def prepare(
    config: RunConfig,
    task: str,
    split: str,
    tokenizer: PreTrainedTokenizerFast,
    tokenizer_id: str,
    source: RowSource | None = None,
    store: TableStore | None = None,
) -> TaskTable:
    """The tokenised table of one split: from the cache, or read, validated, tokenised and put there.

    The rows come from `source`, the task's files if none is given; the whole table from `store`, if that holds it. A hit hashes them and parses nothing. A miss streams, so its memory is bounded by a few thousand rows; its file
    appears whole or not at all. Processes of one host that miss at once wait for the first.

    Raises:
        UserError: as `read_split`; the rows change while they are read; `data.cache` cannot be written.
    """
    stream = SplitStream(config, task, split, source)
    about = _metadata(config, task, stream, tokenizer_id)
    folder = Path(config.data.cache).expanduser()
    path = folder / f"{_key(config, task, split, about)}.arrow"
    try:
        table = _open(path)
        if table is not None:
            return table
        folder.mkdir(parents=True, exist_ok=True)
        with _one_at_a_time(folder):
            return _open(path) or (store and _fetch(path, store)) or _write(path, stream, tokenizer, about)
    except OSError as error:
        raise UserError(f"data.cache: cannot use {path}: {error.strerror or error}") from None


def _metadata(config: RunConfig, task: str, stream: SplitStream, tokenizer_id: str) -> dict:
    return {
        "files": list(stream.files),
        "content_hash": stream.content_hash(),
        "tokenizer_id": tokenizer_id,
        "pairing": pairing_of(config.tasks[task]),
        "max_length": config.data.max_length,
        "special_tokens": config.data.special_tokens,
    }


def _key(config: RunConfig, task: str, split: str, about: dict) -> str:
    # Only losses and scores read these.
    loss_only = {"kind": {"temperature", "projection", "ordered"}}
    declared = config.tasks[task].model_dump(mode="json", include=_READ, exclude=loss_only)
    # The bytes alone do not tell how they were spread over files, nor the suffixes and stems that formats and ids come from.
    names = [PurePosixPath(file).name for file in about["files"]]
    parts = [_FORMAT, {**about, "files": names}, declared, split, config.data.on_bad_rows, config.data.bad_rows_limit]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _open(path: Path) -> TaskTable | None:
    try:
        return TaskTable(path)
    except (FileNotFoundError, pa.ArrowInvalid):
        return None


def _write(path: Path, stream: SplitStream, tokenizer: PreTrainedTokenizerFast, about: dict) -> TaskTable:
    with _aside(path) as aside:
        with aside.open("wb") as file:
            _write_batches(file, stream, tokenizer, about)
            file.flush()
            os.fsync(file.fileno())
        if stream.content_hash() != about["content_hash"]:
            raise UserError(f"{', '.join(stream.files)}: changed while being read; start again")
        os.replace(aside, path)
    return TaskTable(path)


def _fetch(path: Path, store: TableStore) -> TaskTable | None:
    with _aside(path) as aside:
        if not store.fetch(path.name, aside) or _open(aside) is None:
            return None
        os.replace(aside, path)
    return _open(path)


@contextlib.contextmanager
def _aside(path: Path) -> Iterator[Path]:
    """A file beside `path` of a name of its own, gone after the block unless it was renamed."""
    _remove_abandoned(path.parent)
    handle, temporary = tempfile.mkstemp(prefix=f"{path.stem[:16]}-", suffix=".tmp", dir=path.parent)
    os.close(handle)
    try:
        yield Path(temporary)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _write_batches(file: object, stream: SplitStream, tokenizer: PreTrainedTokenizerFast, about: dict) -> None:
    """Rows as they are tokenised; then an empty record batch whose metadata tells what is known only at the end."""
    schema = _schema(about["pairing"], stream.task.kind)
    rows = truncated = 0
    with pa.ipc.new_file(file, schema) as writer:
        for batch in stream.batches():
            tokenised, cut = _tokenise(batch, tokenizer, about, schema)
            writer.write_batch(tokenised)
            rows, truncated = rows + batch.num_rows, truncated + cut
        repeated = stream.repeated_ids()
        left_out = {
            "bad_rows": len(stream.bad_rows),
            "bad_rows_listed": [str(row) for row in stream.bad_rows[:_BAD_ROWS_LISTED]],
            "dropped": dict(stream.dropped),
            "repeated_ids": repeated and repeated._asdict(),
        }
        closing = json.dumps({**about, "rows": rows, "truncated": truncated, **left_out})
        empty = pa.RecordBatch.from_pylist([], schema=schema)
        writer.write_batch(empty, custom_metadata=pa.KeyValueMetadata({"concord": closing}))


def _schema(pairing: Pairing, kind: Kind) -> pa.Schema:
    tokens = pa.list_(pa.int32())
    # The number of a set has a bit for each class.
    label = pa.float64() if isinstance(kind, MultiLabel) else pa.float32()
    fields = [("id", pa.string()), ("text", pa.string()), ("text_pair", pa.string()), ("label", label)]
    fields += [("length", pa.int32()), ("input_ids", tokens)]
    fields += [(column, tokens) for column in TOKEN_COLUMNS[1 : SEQUENCES[pairing]]]
    fields += [("second_start", pa.int16())] if pairing == "cross" else []
    return pa.schema(fields)


def _tokenise(
    batch: pa.RecordBatch, tokenizer: PreTrainedTokenizerFast, about: dict, schema: pa.Schema
) -> tuple[pa.RecordBatch, int]:
    texts = list(zip(*(batch.column(c).to_pylist() for c in ("text", "text_pair", "negative")), strict=True))
    encoded, cut = encode(tokenizer, texts, about["pairing"], about["max_length"], about["special_tokens"])
    columns = {name: batch.column(name) for name in ("id", "text", "text_pair")}
    # Nulls, which unlabelled files have, become NaN.
    columns["label"] = pa.array(
        batch.column("label").to_numpy(zero_copy_only=False).astype(schema.field("label").type.to_pandas_dtype())
    )
    for name, sequences in zip(TOKEN_COLUMNS, encoded.input_ids, strict=False):
        columns[name] = _token_lists(sequences)
    if encoded.second_start is not None:
        columns["second_start"] = pa.array(encoded.second_start)
    columns["length"] = pa.array(np.max([lengths(sequences) for sequences in encoded.input_ids], axis=0))
    return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema), cut


def _token_lists(sequences: list[np.ndarray]) -> pa.ListArray:
    offsets = np.cumsum([0, *lengths(sequences)], dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.concatenate(sequences)))


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which the kernel releases when the process dies."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        # A file system without locks costs double work and no harm: whoever finishes last replaces an equal file.
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _remove_abandoned(folder: Path) -> None:
    """Delete what preparations left behind that were killed a day ago or more."""
    for file in folder.glob("*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - file.stat().st_mtime > _ABANDONED_SECONDS:
                file.unlink()
