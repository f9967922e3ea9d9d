"""How a row's texts are encoded, and what reads their embeddings."""

from typing import Annotated, Literal

from pydantic import Field

from multitask.config.base import Config


class CrossEncoder(Config):
    """Both texts in one sequence, so that attention runs across them."""

    name: Literal["cross_encoder"] = "cross_encoder"


class BiEncoder(Config):
    """Each text encoded alone; the two embeddings u, v (D) meet in the head, as these features:

    `concat`: [u, v]. `concat_difference_product`: [u, v, |u − v|, u · v]. `cosine`: cos(u, v). `pearson`: the
    correlation of u and v over their D elements.
    """

    name: Literal["bi_encoder"] = "bi_encoder"
    features: Literal["concat", "concat_difference_product", "cosine", "pearson"] = Field(
        default="concat_difference_product", description="what the head reads of u and v"
    )

    @property
    def is_one_number(self) -> bool:
        """Whether the features are one number."""
        return self.features in ("cosine", "pearson")


PairEncoding = Annotated[CrossEncoder | BiEncoder, Field(discriminator="name")]

Link = Literal["sigmoid", "identity"]
_LINK = "regression: sigmoid keeps predictions between low and high, identity leaves them as they come"


class _DroppingHead(Config):
    dropout: float | None = Field(
        default=None, ge=0, lt=1, description="head.dropout of the whole config if not given, and else encoder.dropout"
    )


class LinearHead(_DroppingHead):
    """Dropout and a linear layer; on one number (cosine, pearson) a learned scale and offset, and no dropout."""

    name: Literal["linear"] = "linear"
    link: Link = Field(default="sigmoid", description=_LINK)


class MLPHead(_DroppingHead):
    """Dropout, a hidden layer, dropout and a linear layer."""

    name: Literal["mlp"] = "mlp"
    hidden: int | None = Field(default=None, ge=1, description="as wide as the encoder if not given")
    activation: Literal["relu", "gelu", "tanh"] = Field(default="relu", description="after the hidden layer")
    link: Link = Field(default="sigmoid", description=_LINK)


class ScaledHead(Config):
    """Nothing to learn: one number c (cosine, pearson) is scaled to the range of a regression task.

    low + (high − low) · s(c) with s(c) = c (`plain`), max(0, c) (`relu`) or 1 / (1 + exp(−c)) (`sigmoid`).
    """

    name: Literal["scaled"] = "scaled"
    scale: Literal["plain", "relu", "sigmoid"] = Field(default="relu", description="s, of the one number")


HeadConfig = Annotated[LinearHead | MLPHead | ScaledHead, Field(discriminator="name")]
