"""What is added to the tasks' losses to keep the model smooth."""

from pydantic import Field

from multitask.config.base import Config


class Smart(Config):
    """Smoothness-inducing adversarial regularization (Jiang et al. 2020, SMART, equation 2).

    Each row's embedded tokens are moved by noise that an adversary has improved; the divergence of the predictions
    (symmetric KL for classes, squared error for numbers), times `weight`, is added to the row's loss.
    """

    weight: float = Field(default=0.01, gt=0, description="λ")
    noise: float = Field(
        default=1e-5, gt=0, description="σ, standard deviation of the noise that the adversary starts from"
    )
    step_size: float = Field(default=1e-3, gt=0, description="η, largest change of an element in one adversarial step")
    steps: int = Field(default=1, ge=1, description="adversarial steps")


class Bregman(Config):
    """Momentum Bregman proximal point optimization (Jiang et al. 2020, SMART, equation 5).

    The divergence of the predictions from those of a teacher, the running average of the weights, is added.
    """

    weight: float = Field(default=1.0, gt=0, description="μ")
    momentum: float = Field(default=0.99, ge=0, lt=1, description="β of the teacher's running average")


class RDrop(Config):
    """R-Drop (Liang et al. 2021): two passes with different dropout, and the symmetric KL between them."""

    weight: float = Field(default=1.0, gt=0, description="α")


class RegularizationConfig(Config):
    """Terms that are added to the loss of every task that has labels; each is off if not given."""

    smart: Smart | None = Field(default=None, description="adversarial smoothness")
    bregman: Bregman | None = Field(default=None, description="a momentum teacher")
    r_drop: RDrop | None = Field(default=None, description="agreement of two dropout masks")
