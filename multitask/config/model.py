"""The shared encoder."""

from typing import Literal

from pydantic import Field

from multitask.config.base import Config


class EncoderConfig(Config):
    """Any Hugging Face encoder.

    `name` is a folder, a hub name, or `package:NAME[/SUB]` for an encoder that an installed Python package ships.
    """

    name: str
    pooling: Literal["cls", "mean"] = "mean"
    dropout: float = Field(default=0.1, ge=0, lt=1, description="of the encoder and of every head")
