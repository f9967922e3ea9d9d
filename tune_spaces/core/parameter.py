"""One thing that a sweep searches."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from multitask.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from ray.tune.search.sample import Domain

SCALARS = (str, bool, int, float, type(None))


@dataclass(frozen=True)
class Parameter:
    """A named range: one of Ray Tune's `uniform`, `loguniform`, `randint`, `lograndint` or `choice` of scalars.

    `when`: names of other parameters to the values at which this one is searched; all must hold. Instead of a parameter it
    may name a key of the recipe. `key`: the key of the config that an override may name instead of `name`. `mutable`: a
    population may change it in the middle of a run.
    """

    name: str
    domain: "Domain"
    when: Mapping[str, tuple] = field(default_factory=dict)
    key: str | None = None
    mutable: bool = False

    def check(self) -> None:
        """Raises:
        UserError: the domain is none of those named above, or it is empty.
        """
        from ray.tune.search.sample import Categorical, Domain, LogUniform, Uniform

        kinds = "tune.uniform, loguniform, randint, lograndint or choice"
        if not isinstance(self.domain, Domain) or self.kind is None:
            raise UserError(f"parameter {self.name} must be {kinds}, got {self.domain!r}")
        if not isinstance(self.domain.get_sampler(), Uniform | LogUniform):
            raise UserError(f"parameter {self.name} must be {kinds}, got one that is rounded, normal or a grid")
        if isinstance(self.domain, Categorical):
            self._check_values(self.domain.categories)
        elif not self.low < self.high and not (self.kind == "int" and self.low == self.high):
            raise UserError(f"parameter {self.name}: the low end must be below the high end, got {self.domain}")

    def _check_values(self, values: list) -> None:
        if not values:
            raise UserError(f"parameter {self.name}: a choice needs values")
        for value in values:
            if not isinstance(value, SCALARS):
                raise UserError(
                    f"parameter {self.name}: a choice is among texts, numbers, true, false and null, got {value!r}"
                )
        if len({(type(value), value) for value in values}) < len(values):
            raise UserError(f"parameter {self.name}: a choice names each value once, got {values}")

    @property
    def kind(self) -> str | None:
        """`float`, `int` or `choice`."""
        from ray.tune.search.sample import Categorical, Float, Integer

        kinds = {Float: "float", Integer: "int", Categorical: "choice"}
        return kinds.get(type(self.domain))

    @property
    def low(self) -> Any:
        """The lowest value of a number."""
        return self.domain.lower  # type: ignore[attr-defined]

    @property
    def high(self) -> Any:
        """The highest value of a number, which belongs to the range."""
        upper = self.domain.upper  # type: ignore[attr-defined]
        return upper - 1 if self.kind == "int" else upper

    @property
    def log(self) -> bool:
        """Whether all orders of magnitude are alike."""
        from ray.tune.search.sample import LogUniform

        return isinstance(self.domain.get_sampler(), LogUniform)

    @property
    def values(self) -> list | None:
        """All values, if they can be counted."""
        if self.kind == "choice":
            return list(self.domain.categories)  # type: ignore[attr-defined]
        return list(range(self.low, self.high + 1)) if self.kind == "int" else None

    def draw(self, generator: "np.random.Generator") -> Any:
        """A value, from the generator and nothing else."""
        return self.domain.sample(random_state=generator)

    def read(self, value: object) -> object:
        """`value` as the range has it: W&B and JSON may write a whole number with a fraction of 0."""
        return int(value) if self.kind == "int" and isinstance(value, float) and value.is_integer() else value

    def contains(self, value: object) -> bool:
        """Whether `value` lies in the range."""
        is_bool = isinstance(value, bool)
        if self.kind == "choice":
            return any(own == value and isinstance(own, bool) is is_bool for own in self.values or ())
        kinds = int if self.kind == "int" else int | float
        return isinstance(value, kinds) and not is_bool and self.low <= value <= self.high

    def describe(self) -> dict[str, Any]:
        """Plain JSON: `kind`, `low`, `high` (it belongs to the range) and `log` or `values`, and `when`."""
        about: dict[str, Any] = {"kind": self.kind}
        if self.kind == "choice":
            about["values"] = self.values
        else:
            about |= {"low": self.low, "high": self.high, "log": self.log}
        return about | {"when": {name: list(values) for name, values in self.when.items()}}

    def __str__(self) -> str:
        if self.kind == "choice":
            return "one of " + ", ".join(map(str, self.values or ()))
        return f"{self.low:g} … {self.high:g}"
