"""The base of every config model."""

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict

Held = TypeVar("Held")


def without_nulls(value: Any) -> Any:
    """A mapping without the keys that are taken away by null, as `tasks.quora=null` does; anything else as it is."""
    return {key: own for key, own in value.items() if own is not None} if isinstance(value, dict) else value


# A mapping of names to what they stand for, from which null takes a name away.
ByName = Annotated[dict[str, Held], BeforeValidator(without_nulls)]


class Config(BaseModel):
    """A frozen node of the config tree that knows all of its keys and refuses every other."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)
