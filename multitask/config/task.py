"""How a task is declared: files, columns, kind, pair encoding, metric."""

from pydantic import Field, ValidationInfo, field_validator, model_validator

from multitask.config.base import Config
from multitask.config.files import MEMORY, FileFormat, HoldOut, Layout, Split, Where, is_dev, suffix_format
from multitask.config.head import BiEncoder, HeadConfig, LinearHead, MLPHead, PairEncoding, ScaledHead
from multitask.config.kind import Kind
from multitask.config.loss import LossConfig, between_rows, check_loss
from multitask.config.messages import shown

Files = tuple[str, ...]


class Columns(Config):
    """Names of a file's columns. `text_pair` makes it a task on pairs of texts; `negative` is for contrastive tasks.

    A file of format `lines` has the one column `text`.
    """

    id: str | None = Field(default=None, description="a row's name, unique in its split; file and line if not given")
    text: str = Field(description="the text, or the first of two")
    text_pair: str | None = Field(default=None, description="the second text")
    negative: str | None = Field(default=None, description="contrastive: a text that is unlike the first")
    label: str | None = Field(default=None, description="the label; every kind but contrastive needs it")


class TaskConfig(Config):
    """One labelled text task. A new task is a declaration like this one and no Python."""

    kind: Kind = Field(description="what is asked: a class, yes or no, a number, or embeddings")
    auxiliary: bool = Field(default=False, description="trained, but no part of dev/mean; dev files may be left out")
    columns: Columns = Field(description="names of the files' columns")
    files: dict[Split, Files] = Field(
        default={},
        description="split to a file or several: paths under data.root, absolute paths, package:NAME/FILE or URIs, folders "
        "and patterns (part-*.csv.gz); dev_NAME: another dev set, scored beside dev; memory: where Python gives the rows, as for train and dev if nothing is given",
    )
    format: FileFormat | None = Field(default=None, description="by the file's suffix when not given")
    layout: Layout = Field(default=Layout(), description="how the files are written where the format leaves it open")
    where: Where = Field(
        default={}, description="split to the values that columns have in its rows, as {train: {split: train}}"
    )
    hold_out: HoldOut | None = Field(default=None, description="dev or test rows drawn from the training files")
    thresholds: tuple[float, ...] | None = Field(
        default=None, description="labels are numbers, and a row's class is how many of these its number reaches"
    )
    drop_labels: tuple[str, ...] = Field(
        default=(), description='rows with these labels are left out and counted, as "-" of SNLI'
    )
    pair_encoding: PairEncoding | None = Field(default=None, description="how two texts meet; needed for pairs")
    head: HeadConfig | None = Field(default=None, description="linear if not given; contrastive tasks have none")
    loss: LossConfig | None = Field(
        default=None,
        description="cross_entropy for classes, squared_error for numbers if not given; contrastive tasks have their own",
    )
    batch_size: int | None = Field(
        default=None, ge=1, description="rows of one global batch; data.batch_size if not given"
    )
    train_rows: int | None = Field(
        default=None, ge=1, description="only this many training rows are used, drawn once; all of them if not given"
    )
    rows_per_pass: int | None = Field(
        default=None, ge=1, description="rows drawn in one pass; all of them if not given"
    )
    metric: str | None = Field(
        default=None, description="the score that enters dev/mean; the kind's first if not given"
    )

    @field_validator("files", mode="before")
    @classmethod
    def _one_file_is_a_list_of_one(cls, files: object, info: ValidationInfo) -> object:
        if not isinstance(files, dict):
            return files
        if not files:
            has_score = not info.data.get("auxiliary") and getattr(info.data.get("kind"), "name", "") != "contrastive"
            files = dict.fromkeys(("train", "dev") if has_score else ("train",), MEMORY)
        for split, names in files.items():
            if (
                names is not None
                and not isinstance(names, str)
                and not (isinstance(names, list | tuple) and all(isinstance(f, str) for f in names))
            ):
                raise ValueError(f"{split} must be a file or a list of files, as [a.csv, b.csv], got {names!r}")
        return {
            split: (names,) if isinstance(names, str) else names for split, names in files.items() if names is not None
        }

    @field_validator("head", mode="before")
    @classmethod
    def _linear_if_it_has_no_name(cls, head: object) -> object:
        return {"name": "linear"} | head if isinstance(head, dict) else head

    @field_validator("loss", mode="before")
    @classmethod
    def _the_usual_one_if_it_has_no_name(cls, loss: object, info: ValidationInfo) -> object:
        usual = "squared_error" if getattr(info.data.get("kind"), "name", "") == "regression" else "cross_entropy"
        return {"name": usual} | loss if isinstance(loss, dict) else loss

    @field_validator("files")
    @classmethod
    def _memory_stands_alone(cls, files: dict[str, Files]) -> dict[str, Files]:
        for split, names in files.items():
            if MEMORY in names and len(names) > 1:
                raise ValueError(f"{split}: {MEMORY} stands for all rows of a split: leave the files beside it out")
        return files

    @field_validator("drop_labels", mode="before")
    @classmethod
    def _one_label_is_a_list_of_one(cls, labels: object) -> object:
        for label in labels if isinstance(labels, list | tuple) else ():
            if not isinstance(label, str):
                raise ValueError(f'must be texts, but YAML reads {shown(label)}: quote them, as ["-", "9"]')
        return (labels,) if isinstance(labels, str) else labels

    @field_validator("hold_out")
    @classmethod
    def _held_out_rows_have_no_files(cls, hold_out: HoldOut | None, info: ValidationInfo) -> HoldOut | None:
        files = info.data.get("files", {})
        for split in hold_out.splits if hold_out else ():
            # Written out, a config has the training files here.
            if files.get(split) not in (None, (), files.get("train")) and files[split] != (MEMORY,):
                raise ValueError(f"{split} rows are drawn from the training files: leave files.{split} out")
            files[split] = files.get("train", ())
        return hold_out

    @model_validator(mode="after")
    def _consistent(self) -> "TaskConfig":
        if not self.files.get("train"):
            raise ValueError("files.train is missing: a task needs training files")
        if not self.files.get("dev") and self.dev_sets:
            raise ValueError(f"files.{self.dev_sets[0]} is a further dev set: name the first as files.dev")
        self._check_reading()
        if self.kind.name == "contrastive":
            self._check_contrastive()
            return self
        if not self.files.get("dev") and not self.auxiliary:
            raise ValueError("files.dev is missing: a task needs dev files, unless it is auxiliary")
        if self.columns.label is None:
            raise ValueError("columns.label is missing")
        if self.columns.negative is not None:
            raise ValueError("columns.negative is for tasks of kind contrastive")
        if (self.columns.text_pair is None) != (self.pair_encoding is None):
            raise ValueError(
                "columns.text_pair and pair_encoding belong together: give both for a task on pairs, neither for single texts"
            )
        self._check_head()
        if self.loss is not None:
            check_loss(self.loss, self.kind, self.pair_encoding, self.head)
        self._check_metric()
        return self

    def _check_metric(self) -> None:
        if self.metric is not None and self.metric not in self.metrics:
            raise ValueError(
                f"metric must be one of {', '.join(self.metrics)} for kind {self.kind.name}, got {self.metric}"
            )

    def _check_reading(self) -> None:
        names = [name for files in self.files.values() for name in files]
        formats = [name if name == MEMORY else self.format or suffix_format(name) for name in names]
        # A folder or a pattern tells its format only when it is opened.
        self.layout.check(format for format in formats if format is not None and None not in formats)
        if self.thresholds is not None:
            steps = self.thresholds
            if self.kind.name not in ("classification", "binary"):
                raise ValueError("thresholds make one class of a number: use them with kind classification or binary")
            if len(steps) != self.kind.classes - 1 or list(steps) != sorted(set(steps)):
                raise ValueError(
                    f"thresholds must be {self.kind.classes - 1} rising numbers for {self.kind.classes} classes, got {list(steps)}"
                )
        if self.drop_labels and self.columns.label is None:
            raise ValueError("drop_labels needs columns.label")

    def _check_contrastive(self) -> None:
        for key in ("pair_encoding", "head", "loss"):
            if getattr(self, key) is not None:
                raise ValueError(f"{key} has no meaning for a contrastive task: leave it out")
        if self.files.get("dev") and not self.is_pair:
            raise ValueError("files.dev of a contrastive task needs columns.text_pair, the positive that is looked for")
        self._check_metric()
        if self.columns.label is not None:
            raise ValueError("columns.label has no meaning for a contrastive task: leave it out")
        if self.columns.negative is not None and self.columns.text_pair is None:
            raise ValueError("columns.negative needs columns.text_pair, the positive")

    def _check_head(self) -> None:
        one_number, head = self._reads_one_number, self.head
        if one_number and self.kind.name in ("classification", "multi_label"):
            raise ValueError("pair_encoding.features gives one number: use it with kind binary or regression")
        if isinstance(head, ScaledHead) and not (one_number and self.kind.name == "regression"):
            raise ValueError("head.name=scaled is for regression on pair_encoding.features=cosine or pearson")
        if isinstance(head, MLPHead) and one_number:
            raise ValueError("head.name=mlp needs more than the one number of pair_encoding.features=cosine or pearson")
        if one_number and isinstance(head, LinearHead) and head.dropout is not None:
            raise ValueError(
                "head.dropout has no effect on the one number of pair_encoding.features=cosine or pearson: leave it out"
            )
        if isinstance(head, LinearHead | MLPHead) and head.link == "identity" and self.kind.name != "regression":
            raise ValueError("head.link is for kind regression")

    @property
    def _reads_one_number(self) -> bool:
        return isinstance(self.pair_encoding, BiEncoder) and self.pair_encoding.is_one_number

    def head_dropout(self, default: float) -> float:
        """Dropout of the head, `default` where it says none; 0 where it reads nothing that could be dropped."""
        head = self.head or LinearHead()
        if self.kind.name == "contrastive" or self._reads_one_number or isinstance(head, ScaledHead):
            return 0.0
        return default if head.dropout is None else head.dropout

    @property
    def is_scored(self) -> bool:
        """Whether the task has dev rows and metrics."""
        return bool(self.files.get("dev"))

    @property
    def dev_sets(self) -> tuple[str, ...]:
        """Splits that are scored while training; the first enters `dev/mean`."""
        return tuple(split for split, files in self.files.items() if is_dev(split) and files)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the task's scores, the one that is looked at first."""
        return self.kind.metrics

    @property
    def selection_metric(self) -> str:
        """The metric that enters `dev/mean`; for a scored task only."""
        return self.metric or self.metrics[0]

    @property
    def compares_rows(self) -> bool:
        """Whether the loss runs between the rows of a batch, so that no row has one of its own."""
        return self.kind.name == "contrastive" or between_rows(self.loss)

    @property
    def is_pair(self) -> bool:
        """Whether a row holds two texts."""
        return self.columns.text_pair is not None

    @property
    def least_rows(self) -> int:
        """Rows that a batch needs: a single row that is to be told from others trains nothing."""
        return 2 if self.compares_rows else 1
