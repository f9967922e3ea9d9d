"""What a task asks for: a class, yes or no, several classes, a number, or embeddings that tell texts apart."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from multitask.config.base import Config
from multitask.config.messages import shown
from multitask.label_sets import MOST_CLASSES


def _texts(labels: object) -> object:
    for label in labels if isinstance(labels, list | tuple | dict) else ():
        if not isinstance(label, str):
            raise ValueError(f'must be texts, but YAML reads {shown(label)}: quote yes, no and numbers: ["no", "yes"]')
    if isinstance(labels, str) or not isinstance(labels, list | tuple | dict | None):
        raise ValueError(f"must be a list of names, or a mapping of names to classes from 0, got {shown(labels)}")
    for number in labels.values() if isinstance(labels, dict) else ():
        if not isinstance(number, int) or isinstance(number, bool):
            raise ValueError(f"must map names to whole numbers, got {shown(number)}")
    return labels


Labels = tuple[str, ...] | dict[str, int]
LabelNames = Annotated[Labels, BeforeValidator(_texts)]
# Of all metrics more is better, so errors are negative.
_CLASS_METRICS = ("accuracy", "macro_f1", "matthews", "auc")
_LABELS = (
    "what the files call class 0, 1, …, or a mapping where a class has several names, as {neg: 0, Neg: 0, pos: 1}; "
    "the numbers themselves if not given"
)


class Classification(Config):
    """One of `classes` classes, labels 0 … classes − 1."""

    name: Literal["classification"] = "classification"
    classes: int = Field(ge=2, description="C")
    labels: LabelNames | None = Field(default=None, description=_LABELS)
    ordered: bool = Field(
        default=False, description="whether the classes are steps of a scale, 0 the lowest: scores and losses for such"
    )

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the scores."""
        return (*_CLASS_METRICS, *(("quadratic_kappa", "negative_mae") if self.ordered else ()))

    @field_validator("labels")
    @classmethod
    def _one_for_each_class(cls, labels: Labels | None, info: ValidationInfo) -> Labels | None:
        return _distinct(labels, info.data.get("classes", 0))


class Binary(Config):
    """Yes or no, labels 0 and 1; one logit."""

    name: Literal["binary"] = "binary"
    labels: LabelNames | None = Field(default=None, description=_LABELS)

    @property
    def classes(self) -> int:
        """Two."""
        return 2

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the scores."""
        return _CLASS_METRICS

    @field_validator("labels")
    @classmethod
    def _one_for_no_and_one_for_yes(cls, labels: Labels | None) -> Labels | None:
        return _distinct(labels, 2)


def _distinct(labels: Labels | None, classes: int) -> Labels | None:
    if isinstance(labels, dict):
        if set(labels.values()) != set(range(classes)):
            raise ValueError(f"must map names to each of 0 … {classes - 1}, got {labels}")
    elif labels is not None and (len(labels) != classes or len(set(labels)) != classes):
        raise ValueError(f"must be {classes} different names, got {list(labels)}")
    return labels


class MultiLabel(Config):
    """Any number of `classes` classes at once, none included.

    A label is a list of names or numbers (JSON, Parquet, Python), or a text of them with `separator` between; an empty one is
    no class.
    """

    name: Literal["multi_label"] = "multi_label"
    classes: int = Field(ge=2, le=MOST_CLASSES, description="C")
    labels: LabelNames | None = Field(default=None, description=_LABELS)
    separator: str = Field(default=",", min_length=1, description="what stands between a row's labels in text files")

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the scores."""
        return ("micro_f1", "macro_f1", "exact_match", "auc")

    @field_validator("labels")
    @classmethod
    def _one_for_each_class(cls, labels: Labels | None, info: ValidationInfo) -> Labels | None:
        return _distinct(labels, info.data.get("classes", 0))


class Regression(Config):
    """A number between `low` and `high`."""

    name: Literal["regression"] = "regression"
    low: float = Field(description="least label")
    high: float = Field(description="largest label")

    @property
    def classes(self) -> int:
        """None: labels are numbers."""
        return 0

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the scores."""
        return ("pearson", "spearman", "negative_mae")

    @model_validator(mode="after")
    def _range_is_not_empty(self) -> "Regression":
        if self.low >= self.high:
            raise ValueError(f"low must be below high, got low={self.low:g} and high={self.high:g}")
        return self


class Contrastive(Config):
    """Texts without labels: a text and its positive are drawn together, and away from all other rows of the batch.

    Single texts are their own positive, encoded twice with different dropout (unsupervised SimCSE, Gao et al. 2021);
    with `columns.text_pair` that is the positive (multiple negatives ranking, Henderson et al. 2017); with
    `columns.negative` besides, each row's negative joins those of the batch (supervised SimCSE).
    """

    name: Literal["contrastive"] = "contrastive"
    temperature: float = Field(default=0.05, gt=0, description="τ, by which cosines are divided")
    projection: Literal["none", "mlp"] = Field(
        default="none", description="mlp: a dense layer with tanh on the embedding, in training only (SimCSE)"
    )

    @property
    def classes(self) -> int:
        """None: there are no labels."""
        return 0

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the scores: how well a text finds its positive among those of all dev rows."""
        return ("retrieval_accuracy", "mrr")


Kind = Annotated[Classification | Binary | MultiLabel | Regression | Contrastive, Field(discriminator="name")]

ClassName = str | int


def class_names(kind: Kind) -> tuple[ClassName, ...]:
    """What class 0, 1, … are called: their names if the kind has `labels` (the first of several), else the numbers; none for
    other kinds.
    """
    places = label_places(kind)
    if not places:
        return tuple(range(kind.classes))
    return tuple(next(name for name, place in places.items() if place == number) for number in range(kind.classes))


def label_places(kind: Kind) -> dict[str, int]:
    """Names in files to classes; empty where the kind has no `labels`."""
    labels: Labels = getattr(kind, "labels", None) or ()
    return labels if isinstance(labels, dict) else {name: place for place, name in enumerate(labels)}
