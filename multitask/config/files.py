"""How a task's files are written, and which of their rows a split has."""

import codecs
import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from multitask.config.base import Config

SPLITS = ("train", "dev", "test")
_SPLIT = re.compile(r"train|dev(_[A-Za-z0-9]\w*)?|test", re.ASCII)


def is_split(name: object) -> bool:
    """Whether a split may have this name: train, dev, test, or dev_NAME for another dev set."""
    return isinstance(name, str) and _SPLIT.fullmatch(name) is not None


def is_dev(split: str) -> bool:
    """Whether rows of the split are scored while training."""
    return split == "dev" or split.startswith("dev_")


def _split(name: str) -> str:
    if not is_split(name):
        raise ValueError(f"must be train, dev, test, or dev_NAME for another dev set, got {name!r}")
    return name


Split = Annotated[str, AfterValidator(_split)]
FileFormat = Literal["cs224n", "glue", "csv", "tsv", "jsonl", "json", "parquet", "arrow", "lines"]
Quoting = Literal["standard", "none"]
FORMATS: tuple[str, ...] = get_args(FileFormat)
COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")
_BY_SUFFIX: dict[str, FileFormat] = {
    ".tsv": "tsv",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".txt": "lines",
}
_DELIMITED = ("cs224n", "glue", "csv", "tsv")
TEXT_FORMATS = (*_DELIMITED, "jsonl", "json", "lines")
# In place of files: the rows are in memory.
MEMORY = "memory:"
_FOLLOWED_BY: dict[str, tuple[str, ...]] = {
    "encoding": TEXT_FORMATS,
    "delimiter": _DELIMITED,
    "quoting": _DELIMITED,
    "header": _DELIMITED,
    "comment": (*_DELIMITED, "lines"),
    "decimal": (*_DELIMITED, "jsonl", "json", "parquet", "arrow", MEMORY),
}


def plain_name(file: str) -> str:
    """The name of a file without folders and without a compression's suffix."""
    name = PurePosixPath(file).name
    return name[: -len(PurePosixPath(name).suffix)] if name.lower().endswith(COMPRESSIONS) else name


def suffix_format(file: str) -> FileFormat | None:
    """The format that the suffix of `file` tells; None if it tells none."""
    return _BY_SUFFIX.get(PurePosixPath(plain_name(file)).suffix.lower())


class Layout(Config):
    """How a file is written where its format leaves that open."""

    encoding: str | None = Field(
        default=None,
        description="of a text file, as latin-1 or utf-16; UTF-8 if not given, or what a byte order mark says",
    )
    delimiter: str | None = Field(
        default=None, description='one character between fields, as ";" or "\\t"; by the format if not given'
    )
    quoting: Quoting | None = Field(
        default=None,
        description="standard: a field in quotes may hold delimiters, doubled quotes and line ends; none: a quote is a "
        "character like any other; by the format if not given, for tsv told from the file",
    )
    header: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="the columns' names, of files whose first line is a row already"
    )
    comment: str | None = Field(default=None, min_length=1, description="a line that begins so is left out")
    decimal: Literal[".", ","] | None = Field(
        default=None, description="what stands before the decimals of labels; the point if not given"
    )

    @field_validator("encoding")
    @classmethod
    def _encoding_is_known(cls, encoding: str | None) -> str | None:
        try:
            return None if encoding is None else codecs.lookup(encoding).name
        except LookupError:
            raise ValueError(f"there is no encoding {encoding!r}; some are utf-8, latin-1, cp1252, utf-16") from None

    @field_validator("delimiter", mode="before")
    @classmethod
    def _delimiter_is_one_character(cls, delimiter: object) -> object:
        delimiter = "\t" if delimiter == "\\t" else delimiter
        if delimiter is not None and (not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '"\r\n'):
            raise ValueError(
                f'must be one character other than a quote or line end, as ";" or "\\t", got {delimiter!r}'
            )
        return delimiter

    def check(self, formats: Iterable[str]) -> None:
        """What is set is followed by one of the formats.

        Raises:
            ValueError: it is not.
        """
        own = set(formats)
        for key, followed in _FOLLOWED_BY.items():
            if getattr(self, key) is not None and own and not own.intersection(followed):
                raise ValueError(
                    f"layout.{key} has no meaning for files of format {', '.join(sorted(own))}: leave it out"
                )


def _as_lists(where: object) -> object:
    if not isinstance(where, Mapping):
        return where
    for split, columns in where.items():
        if not is_split(split) or not isinstance(columns, Mapping):
            raise ValueError(
                f"is a mapping of splits to columns and the values that their rows have, as {{train: {{split: train}}}}, got {where!r}"
            )
    return {
        split: {str(name): value if isinstance(value, list | tuple) else (value,) for name, value in columns.items()}
        for split, columns in where.items()
    }


Where = Annotated[dict[Split, dict[str, tuple[bool | int | float | str, ...]]], BeforeValidator(_as_lists)]


class HoldOut(Config):
    """Splits drawn from the training files, for data that come in one piece.

    A row's split goes by a hash of its texts and the seed: equal rows are on one side, and rows that join the files move no
    other. So the shares are met on average.
    """

    dev: float = Field(default=0.0, ge=0, lt=1, description="share of the rows that are dev rows")
    test: float = Field(default=0.0, ge=0, lt=1, description="share of the rows that are test rows")
    seed: int = Field(default=0, ge=0, lt=2**31, description="of the draw; another draws other rows")

    @property
    def splits(self) -> tuple[Split, ...]:
        """The splits that are drawn."""
        drawn: tuple[Split, ...] = ("dev", "test")
        return tuple(split for split in drawn if getattr(self, split))

    @model_validator(mode="after")
    def _rows_are_left_for_training(self) -> "HoldOut":
        if not self.splits:
            raise ValueError("names no share: set dev, test or both, as {dev: 0.1}")
        if self.dev + self.test >= 1:
            raise ValueError(f"dev and test must leave rows for training, got {self.dev:g} and {self.test:g}")
        return self
