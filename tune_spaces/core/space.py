"""A search space around one recipe."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from multitask.config import RunConfig
from multitask.config.messages import valid_names
from multitask.errors import UserError
from multitask.keys import generator_key
from tune_spaces.core.definition import Definition, ordered
from tune_spaces.core.distributions import suggested
from tune_spaces.core.parameter import Parameter
from tune_spaces.core.settings import MISSING, own_value

if TYPE_CHECKING:
    import numpy as np
    import optuna

_DRAWS = 1000
_GRID = 10_000


class Space:
    """Named parameters, of which some are searched only where others have certain values; a sample has the active ones.

    `name` suits a folder, `spec` is what the user wrote, `base` the recipe. `parameters`: those that are searched and can be
    active, each after those that its `when` names. `fixed`: those that are held instead. `everything`: all of the
    definition's parameters. `mutable`: what a population may change in the middle of a run. `points`: samples to try first,
    after the recipe, as they were given.
    """

    def __init__(self, definition: Definition, base: RunConfig, fixed: Mapping[str, Any]) -> None:
        self.name, self.spec, self.about = definition.name, definition.spec, definition.about
        self.fixed = dict(fixed)
        self._definition, self.base = definition, base
        self.everything = ordered(definition.parameters)
        self._outer = {
            name: own_value(base, name)
            for own in self.everything.values()
            for name in own.when
            if name not in self.everything
        }
        self.parameters: dict[str, Parameter] = {}
        for name, own in self.everything.items():
            if name not in fixed and self._can_be_active(own):
                self.parameters[name] = own
        self.mutable = tuple(name for name, own in self.parameters.items() if own.mutable or name in definition.mutable)
        points = [{name: point[name] for name in point if name not in fixed} for point in definition.points]
        self.points = tuple(point for place, point in enumerate(points) if point not in points[:place])

    def active(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        """The sample without what is inactive in it.

        Raises:
            UserError: it names something that is no parameter.
        """
        values = self._values(sample)
        return {name: values[name] for name in self.parameters if name in values}

    @cached_property
    def first(self) -> tuple[dict[str, Any], ...]:
        """The samples to try first: the points, but for one that is the recipe itself.

        Raises:
            UserError: a point names something that is no parameter.
        """
        recipe = self.sample_of(self.base)
        samples = [self.active(point) for point in self.points]
        return tuple(sample for sample in samples if sample != recipe)

    def draw(self, generator: "np.random.Generator") -> dict[str, Any]:
        """A sample whose config is valid; the generator alone decides.

        Raises:
            UserError: none was found.
        """
        refusal = None
        for _ in range(_DRAWS):
            sample = self.draw_any(generator)
            if (refusal := self.refusal(sample)) is None:
                return sample
        raise UserError(f"space {self.spec}: none of {_DRAWS} samples can be trained; the last one: {refusal}")

    def draw_any(self, generator: "np.random.Generator", held: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """A sample that need not be valid, with the values of `held`."""
        held = held or {}
        return self._build(lambda own: held[own.name] if own.name in held else own.draw(generator))

    def suggest(self, trial: "optuna.trial.BaseTrial") -> dict[str, Any]:
        """What Optuna proposes, parameter by parameter; where that is not valid, one that is drawn."""
        import numpy as np

        sample = self._build(lambda own: suggested(trial, own.name, own.describe()))
        if self.refusal(sample) is None:
            return sample
        return self.draw(np.random.default_rng(generator_key(json.dumps(sample, sort_keys=True))))

    def grid(self) -> list[dict[str, Any]]:
        """Every valid sample of choices and whole numbers, the last parameter changing first.

        Raises:
            UserError: a parameter has values without number, or there are too many samples.
        """
        samples = []
        for values in self._combinations(list(self.everything.values()), {}):
            sample = {name: value for name, value in values.items() if name in self.parameters}
            if self.refusal(sample) is None:
                samples.append(sample)
            if len(samples) > _GRID:
                raise UserError(f"space {self.spec}: a grid of more than {_GRID} samples; fix a parameter by KEY=VALUE")
        return samples

    def config(self, base: RunConfig, sample: Mapping[str, Any]) -> RunConfig:
        """`base` with what the sample says; what is inactive in it is passed over.

        Raises:
            UserError: the sample is not one of the space's, or no run can be trained so.
        """
        values = self._values(sample)
        for name, own in self.everything.items():
            if name not in values and self._is_active(own, values):
                raise UserError(f"space {self.spec}: the sample has no value for {name} ({own})")
            if name in values and name not in self.fixed and not own.contains(values[name]):
                raise UserError(f"space {self.spec}: {name} must be {own}, got {values[name]!r}")
        shown = ", ".join(
            f"{name}={value:.6g}" if isinstance(value, float) else f"{name}={value}" for name, value in values.items()
        )
        if not self._definition.allowed(base, values):
            raise UserError(f"space {self.spec} does not allow {shown}")
        try:
            return self._definition.to_config(base, values)
        except UserError as error:
            raise UserError(f"space {self.spec}: {error} (sample {shown})") from None

    def sample_of(self, base: RunConfig) -> dict[str, Any] | None:
        """The sample that makes `base` itself, None if the space has none."""
        values: dict[str, Any] = {}
        for name, own in self.everything.items():
            if self._is_active(own, values):
                values[name] = self.fixed.get(name, self._definition.own(base, name))
                if values[name] is MISSING:
                    return None
        sample = {name: values[name] for name in self.parameters if name in values}
        try:
            same = _alike(self.config(base, sample).to_dict(), base.to_dict())
        except UserError:
            return None
        return sample if same else None

    def refusal(self, sample: Mapping[str, Any]) -> str | None:
        """Why the sample cannot be trained, None if it can."""
        try:
            self.config(self.base, sample)
        except UserError as error:
            return str(error)
        return None

    def describe(self) -> dict[str, Any]:
        """Plain JSON; `identity` changes with the parameters, their ranges, constraints that can be said, and what is fixed."""
        parameters = {name: own.describe() for name, own in self.parameters.items()}
        meaning = json.dumps([parameters, self.fixed, self._definition.constraints], sort_keys=True)
        identity = hashlib.sha256(meaning.encode()).hexdigest()
        return {"name": self.name, "about": self.about, "identity": identity, "parameters": parameters}

    def _can_be_active(self, own: Parameter) -> bool:
        """Whether what is fixed, and the recipe where nothing searches it, leave the conditions open."""
        held = {**self._outer, **self.fixed}
        return all(
            other in self.parameters or (other in held and held[other] in values) for other, values in own.when.items()
        )

    def _is_active(self, own: Parameter, values: Mapping[str, Any]) -> bool:
        known = {**self._outer, **values}
        return all(name in known and known[name] in allowed for name, allowed in own.when.items())

    def _build(self, value: Callable[[Parameter], Any]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, own in self.everything.items():
            if self._is_active(own, values):
                values[name] = self.fixed[name] if name in self.fixed else value(own)
        return {name: values[name] for name in self.parameters if name in values}

    def _values(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        """Values of all active parameters, as far as the sample has them, and of the fixed ones."""
        for name in sample:
            if name not in self.everything:
                raise UserError(f"space {self.spec}: no parameter {name!r}; {valid_names(name, self.parameters)}")
        given, values = {**sample, **self.fixed}, dict[str, Any]()
        for name, own in self.everything.items():
            if name in given and self._is_active(own, values):
                values[name] = own.read(given[name])
        return values

    def _combinations(self, rest: list[Parameter], values: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if not rest:
            yield values
            return
        own = rest[0]
        choices: list[Any] | None = [MISSING]
        if self._is_active(own, values):
            choices = [self.fixed[own.name]] if own.name in self.fixed else own.values
        if choices is None:
            raise UserError(
                f"space {self.spec}: {own.name} ({own}) has values without number, a grid needs choices: "
                f"fix it by {own.name}=VALUE, or use another search"
            )
        for choice in choices:
            yield from self._combinations(rest[1:], values if choice is MISSING else {**values, own.name: choice})


def _alike(first: Any, second: Any) -> bool:
    """Whether two plain trees are equal but for rounding."""
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(_alike(first[key], second[key]) for key in first)
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(_alike, first, second))
    if isinstance(first, float) and isinstance(second, float):
        return abs(first - second) <= 1e-12 * max(abs(first), abs(second))
    return bool(first == second)
