"""What a task's rows are trained with."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from multitask.config.base import Config
from multitask.config.head import BiEncoder, HeadConfig, PairEncoding, ScaledHead
from multitask.config.kind import Classification, Kind


def _weights(value: object) -> object:
    numbers = isinstance(value, list | tuple) and all(type(own) in (int, float) and own > 0 for own in value)
    if value is None or value == "balanced" or numbers:
        return value
    raise ValueError(f"must be a list of numbers above 0, one for each class, or balanced, got {value!r}")


ClassWeights = Annotated[tuple[float, ...] | Literal["balanced"] | None, BeforeValidator(_weights)]
_WEIGHTS = (
    "a factor of the loss of each class's rows, in the order of the classes; balanced: N / (C · rows of the class) among the "
    "N training rows; the batch's loss is the mean over its rows"
)


class CrossEntropy(Config):
    """−log p of the row's class; for multi_label the mean over the labels of the binary cross-entropy of each."""

    name: Literal["cross_entropy"] = "cross_entropy"
    class_weights: ClassWeights = Field(default=None, description=_WEIGHTS)
    label_smoothing: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="ε: the target is 1 − ε on the row's class and ε spread over all (Szegedy 2016)",
    )


class Focal(Config):
    """−(1 − p)^γ log p of the row's class (Lin et al. 2017, equation 5): rows that are told well count less."""

    name: Literal["focal"] = "focal"
    gamma: float = Field(default=2.0, ge=0, description="γ; 0 is cross-entropy")
    class_weights: ClassWeights = Field(default=None, description=_WEIGHTS)


class Corn(Config):
    """CORN, for ordered classes: C − 1 logits of P(y > k | y ≥ k) (Shi et al. 2023, equations 5 to 8).

    A row's loss is the sum of its binary cross-entropies over k ≤ y, which is −log p of its class. The batch's is the mean over
    its rows, the authors' over all these cross-entropies. The prediction is the number of k with P(y > k) > ½.
    """

    name: Literal["corn"] = "corn"


class CumulativeLink(Config):
    """Proportional odds, for ordered classes: P(y ≤ k) = σ(θ_k − f), one number f and C − 1 learned θ in order (McCullagh 1980).

    A row's loss is −log p of its class. The prediction is the number of k with P(y > k) > ½.
    """

    name: Literal["cumulative_link"] = "cumulative_link"


class SquaredError(Config):
    """The squared difference on the label's own scale."""

    name: Literal["squared_error"] = "squared_error"


class Huber(Config):
    """Half the squared difference up to δ, beyond it δ · (|difference| − δ / 2) (Huber 1964), on the label's own scale."""

    name: Literal["huber"] = "huber"
    delta: float = Field(default=1.0, gt=0, description="δ")


class CoSENT(Config):
    """CoSENT (Su 2022): log(1 + Σ exp(λ (s_j − s_i))) over all pairs of rows i, j of the batch with label y_i > y_j.

    s is the cosine or correlation of a row's two texts, which `head.name: scaled` puts on the labels' scale. The order of the
    scores is trained and nothing else.
    """

    name: Literal["cosent"] = "cosent"
    scale: float = Field(default=20.0, gt=0, description="λ")


class AnglE(Config):
    """AnglE (X. Li and J. Li 2024): CoSENT's loss, with s the angle of the two embeddings as complex vectors.

    s = |Re z + Im z|, z = ⟨u, v⟩ / (|u| |v|), where u = a + bi of the halves a, b of an embedding, and so v: as the authors' code
    has it, and sentence-transformers. `cosine_weight` times CoSENT's loss is added (the paper's
    first term; its in-batch negatives are a contrastive task here). Predictions are cosines.
    """

    name: Literal["angle"] = "angle"
    scale: float = Field(default=20.0, gt=0, description="λ, of both terms")
    cosine_weight: float = Field(default=1.0, ge=0, description="w₁ over w₃; 0 is AnglELoss of sentence-transformers")


LossConfig = Annotated[
    CrossEntropy | Focal | Corn | CumulativeLink | SquaredError | Huber | CoSENT | AnglE, Field(discriminator="name")
]

# Kind of task to its losses.
LOSSES: dict[str, tuple[type[Config], ...]] = {
    "classification": (CrossEntropy, Focal, Corn, CumulativeLink),
    "binary": (CrossEntropy, Focal),
    "multi_label": (CrossEntropy, Focal),
    "regression": (SquaredError, Huber, CoSENT, AnglE),
}


def between_rows(loss: LossConfig | None) -> bool:
    """Whether the loss compares the rows of a batch."""
    return isinstance(loss, CoSENT | AnglE)


def check_loss(loss: LossConfig, kind: Kind, pair_encoding: PairEncoding | None, head: HeadConfig | None) -> None:
    """The loss has what it needs of the task.

    Raises:
        ValueError: it has not.
    """
    known = LOSSES[kind.name]
    if not isinstance(loss, known):
        names = ", ".join(own.model_fields["name"].default for own in known)
        raise ValueError(f"loss.name={loss.name} is not for kind {kind.name}: use one of {names}")
    if isinstance(loss, Corn | CumulativeLink) and not (isinstance(kind, Classification) and kind.ordered):
        raise ValueError(f"loss.name={loss.name} is for classes in order: say kind.ordered=true")
    weights = loss.class_weights if isinstance(loss, CrossEntropy | Focal) else None
    if isinstance(weights, tuple) and len(weights) != kind.classes:
        raise ValueError(f"loss.class_weights must hold {kind.classes} numbers, one for each class, got {len(weights)}")
    if weights == "balanced" and kind.name == "multi_label":
        raise ValueError("loss.class_weights=balanced is for one class a row: give a list of numbers")
    if between_rows(loss):
        features = pair_encoding.features if isinstance(pair_encoding, BiEncoder) else None
        fitting = ("cosine",) if isinstance(loss, AnglE) else ("cosine", "pearson")
        if features not in fitting or not isinstance(head, ScaledHead):
            raise ValueError(
                f"loss.name={loss.name} trains the order of similarities and no head: it needs pair_encoding.name=bi_encoder, "
                f"pair_encoding.features={' or '.join(fitting)} and head.name=scaled"
            )
