"""The base of every config model."""

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """A frozen node of the config tree that knows all of its keys and refuses every other."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)
