"""What is added to the tasks' losses to keep the model smooth."""

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from multitask.config.base import Config


class Smart(Config):
    """Smoothness-inducing adversarial regularization (Jiang et al. 2020, SMART, equation 2).

    Each row's embedded tokens are moved by noise that an adversary has improved; the divergence of the predictions
    (symmetric KL for classes, squared error for numbers), times `weight`, is added to the row's loss. All passes over a row
    have the same dropout masks, so that the term measures the noise alone.

    `ascent`, the paper's algorithm 1: the noise goes `step_size` along the gradient of that divergence, over its largest
    element (`norm_level`), and is cut off at `radius`. The paper has `norm_level: row, radius: 1.0e-5`, weights of 1 to 5.
    `mt_dnn`, what the authors' code does: see [methods](methods.md#smart).
    """

    weight: float = Field(default=0.01, gt=0, description="λ")
    adversary: Literal["ascent", "mt_dnn"] = Field(default="ascent", description="how the noise is improved")
    noise: float = Field(
        default=1e-5, gt=0, description="σ, standard deviation of the noise that the adversary starts from"
    )
    step_size: float = Field(default=1e-3, gt=0, description="η of an adversarial step")
    steps: int = Field(default=1, ge=1, description="adversarial steps")
    norm_level: Literal["token", "row"] = Field(
        default="token", description="over the elements of what the ∞-norm is taken by which the adversary divides"
    )
    radius: float | None = Field(
        default=None, gt=0, description="ε, largest change of an element of an embedded token; not bounded if not given"
    )

    @field_validator("radius")
    @classmethod
    def _only_the_ascent_is_projected(cls, radius: float | None, info: ValidationInfo) -> float | None:
        if radius is not None and info.data.get("adversary") == "mt_dnn":
            raise ValueError("is for adversary=ascent: MT-DNN's code does not bound the noise")
        return radius


class Bregman(Config):
    """Momentum Bregman proximal point optimization (Jiang et al. 2020, SMART, equation 5).

    The divergence of the predictions from those of a teacher, the running average of the weights, is added. β is that of
    the paper: .99 for the first tenth of the updates, then .999.
    """

    weight: float = Field(default=1.0, gt=0, description="μ")
    momentum: float = Field(default=0.999, ge=0, lt=1, description="β of the teacher's running average")
    early_momentum: float | None = Field(
        default=None, ge=0, lt=1, description="β of the early updates; .99 if not given, or momentum where that is less"
    )
    early: float = Field(default=0.1, ge=0, le=1, description="the early updates' part of all")

    def momentum_at(self, part: float) -> float:
        """β of the update with which this part of all, 0 to 1, is done."""
        if part > self.early:
            return self.momentum
        return min(0.99, self.momentum) if self.early_momentum is None else self.early_momentum


class RDrop(Config):
    """R-Drop (Liang et al. 2021): two passes with different dropout, and the symmetric KL between them.

    `weight` · ½ (KL(p₁|p₂) + KL(p₂|p₁)) is added to the task's loss, the mean or the sum of the two passes' own.
    """

    weight: float = Field(default=1.0, gt=0, description="α")
    task_loss: Literal["mean", "sum"] = Field(
        default="mean", description="mean: ½ (L₁ + L₂), the authors' code; sum: L₁ + L₂, the paper's equation 4"
    )


class RegularizationConfig(Config):
    """Terms that are added to the loss of every task that has labels; each is off if not given."""

    smart: Smart | None = Field(default=None, description="adversarial smoothness")
    bregman: Bregman | None = Field(default=None, description="a momentum teacher")
    r_drop: RDrop | None = Field(default=None, description="agreement of two dropout masks")
