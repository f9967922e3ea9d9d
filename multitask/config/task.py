"""How a task is declared: files, columns, kind, pair encoding, metric."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from multitask.config.base import Config

FileFormat = Literal["cs224n", "glue", "csv", "jsonl", "parquet"]
Files = tuple[str, ...]

SPLITS = ("train", "dev", "test")


class Columns(Config):
    """Names of a file's columns. `text_pair` makes it a task on pairs of texts."""

    id: str | None = None
    text: str
    text_pair: str | None = None
    label: str


class Classification(Config):
    """One of `classes` classes, labels 0 … classes − 1; trained with cross-entropy."""

    name: Literal["classification"] = "classification"
    classes: int = Field(ge=2)


class Binary(Config):
    """Yes or no, labels 0 and 1; one logit trained with binary cross-entropy."""

    name: Literal["binary"] = "binary"


class Regression(Config):
    """A number between `low` and `high`; trained with mean squared error on the label's own scale."""

    name: Literal["regression"] = "regression"
    low: float
    high: float

    @model_validator(mode="after")
    def _range_is_not_empty(self) -> "Regression":
        if self.low >= self.high:
            raise ValueError(f"low must be below high, got low={self.low:g} and high={self.high:g}")
        return self


Kind = Annotated[Classification | Binary | Regression, Field(discriminator="name")]


class CrossEncoder(Config):
    """Both texts in one sequence, so that attention runs across them."""

    name: Literal["cross_encoder"] = "cross_encoder"


class BiEncoder(Config):
    """Each text encoded alone; the two embeddings u, v meet in the head.

    `concat`: a linear layer on [u, v, |u − v|, u · v]. `cosine`: an affine function of cos(u, v).
    """

    name: Literal["bi_encoder"] = "bi_encoder"
    similarity: Literal["concat", "cosine"] = "concat"


PairEncoding = Annotated[CrossEncoder | BiEncoder, Field(discriminator="name")]

METRICS: dict[str, tuple[str, ...]] = {
    "classification": ("accuracy", "macro_f1"),
    "binary": ("accuracy", "macro_f1"),
    "regression": ("pearson", "spearman"),
}


class TaskConfig(Config):
    """One labelled text task. A new task is a declaration like this one and no Python."""

    kind: Kind
    columns: Columns
    files: dict[Literal["train", "dev", "test"], Files]
    format: FileFormat | None = Field(default=None, description="by the file's suffix when not given")
    pair_encoding: PairEncoding | None = None
    batch_size: int | None = Field(
        default=None, ge=1, description="rows of one global batch; data.batch_size if not given"
    )
    rows_per_epoch: int | None = Field(
        default=None, ge=1, description="rows drawn in one pass; all of them if not given"
    )
    metric: str | None = Field(
        default=None, description="the score that enters dev/mean; the kind's first if not given"
    )

    @field_validator("files", mode="before")
    @classmethod
    def _one_file_is_a_list_of_one(cls, files: object) -> object:
        if isinstance(files, dict):
            return {split: (f,) if isinstance(f, str) else f for split, f in files.items()}
        return files

    @model_validator(mode="after")
    def _consistent(self) -> "TaskConfig":
        for split in ("train", "dev"):
            if not self.files.get(split):
                raise ValueError(f"files.{split} is missing: a task needs training and dev files")
        if (self.columns.text_pair is None) != (self.pair_encoding is None):
            raise ValueError(
                "columns.text_pair and pair_encoding belong together: give both for a task on pairs, neither for single texts"
            )
        if isinstance(self.pair_encoding, BiEncoder) and self.pair_encoding.similarity == "cosine":
            if self.kind.name == "classification":
                raise ValueError(
                    "pair_encoding.similarity=cosine gives one number: use it with kind binary or regression"
                )
        if self.metric is not None and self.metric not in METRICS[self.kind.name]:
            raise ValueError(
                f"metric must be one of {', '.join(METRICS[self.kind.name])} for kind {self.kind.name}, got {self.metric}"
            )
        return self

    @property
    def selection_metric(self) -> str:
        """The metric that enters `dev/mean`."""
        return self.metric or METRICS[self.kind.name][0]

    @property
    def is_pair(self) -> bool:
        """Whether a row holds two texts."""
        return self.columns.text_pair is not None
