"""What is said of a method wherever methods are listed."""

from dataclasses import dataclass
from typing import Literal

MethodKind = Literal["losses", "gradients", "coordinates"]


@dataclass(frozen=True)
class About:
    """`paper`: where the method is from. `when`: when to try it. `state`: what it remembers from step to step, nothing if empty.

    `differs`: in what it is not as its paper has it. `gradients`: how many are kept apart, one of all tasks or one of each.
    """

    kind: MethodKind
    paper: str
    when: str
    state: str = ""
    differs: str = ""
    gradients: Literal["one", "each"] = "one"

    @property
    def weighs_before(self) -> bool:
        """Whether the weights of a step are known before it, and do not depend on what earlier ones found."""
        return self.gradients == "one" and not self.state
