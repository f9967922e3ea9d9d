"""Which reader reads what."""

from pathlib import PurePosixPath

from multitask.data.delimited import CS224N, CSV, TSV, Glue
from multitask.data.jsonl import JSONL
from multitask.data.parquet import Parquet
from multitask.data.plain import PlainLines
from multitask.data.schema import Reader
from multitask.errors import UserError

READERS: dict[str, type[Reader]] = {
    "cs224n": CS224N,
    "glue": Glue,
    "csv": CSV,
    "tsv": TSV,
    "jsonl": JSONL,
    "parquet": Parquet,
    "lines": PlainLines,
}

_BY_SUFFIX = {
    ".tsv": "tsv",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".txt": "lines",
}


def file_format(file: str, task: str) -> str:
    """The format that the suffix of `file` tells.

    Raises:
        UserError: no format has that suffix.
    """
    suffix = PurePosixPath(file).suffix.lower()
    if suffix not in _BY_SUFFIX:
        raise UserError(f"tasks.{task}.format: the suffix of {file} tells no format; give one of {', '.join(READERS)}")
    return _BY_SUFFIX[suffix]
