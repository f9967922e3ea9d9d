"""How a task's files are written."""

from typing import Literal

from pydantic import Field

from multitask.config.base import Config

FileFormat = Literal["cs224n", "glue", "csv", "tsv", "jsonl", "parquet", "lines"]
Quoting = Literal["standard", "none"]


class Layout(Config):
    """How a file is written where its format leaves that open."""

    quoting: Quoting | None = Field(
        default=None,
        description="standard: a field in quotes may hold delimiters, doubled quotes and line ends; none: a quote is a "
        "character like any other; by the format if not given, for tsv told from the file",
    )
