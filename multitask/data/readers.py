"""Which reader reads what."""

from multitask.config.files import FORMATS, suffix_format
from multitask.data.columns import Arrow, Parquet
from multitask.data.delimited import CS224N, CSV, TSV, Glue
from multitask.data.json_rows import JSON, JSONL
from multitask.data.plain import PlainLines
from multitask.data.schema import Reader
from multitask.errors import UserError

READERS: dict[str, type[Reader]] = {
    "cs224n": CS224N,
    "glue": Glue,
    "csv": CSV,
    "tsv": TSV,
    "jsonl": JSONL,
    "json": JSON,
    "parquet": Parquet,
    "arrow": Arrow,
    "lines": PlainLines,
}


def file_format(file: str, task: str) -> str:
    """The format that the suffix of `file` tells, that of a compression left out.

    Raises:
        UserError: no format has that suffix.
    """
    format = suffix_format(file)
    if format is None:
        raise UserError(f"tasks.{task}.format: the suffix of {file} tells no format; give one of {', '.join(FORMATS)}")
    return format
