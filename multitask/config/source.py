"""Where a recipe comes from."""

from typing import Literal

from pydantic import Field

from multitask.config.base import Config

Published = Literal["dev", "test", "train"]


class SourceConfig(Config):
    """The published row that a recipe implements; it changes nothing in training."""

    paper: str = Field(description="authors or letter, and title")
    row: str = Field(description="what the paper calls it")
    scores: dict[Published, dict[str, float]] = Field(
        default={}, description="published scores: split (dev, test or train) to task to score"
    )
    overall: dict[Published, float] = Field(
        default={}, description="the overall score that was published, by split: the tasks' sum or mean"
    )
    encoder: str | None = Field(default=None, description="the encoder that was published with")
    data: str | None = Field(default=None, description="the rows that were published with")
    differs: str = Field(default="", description="what this recipe does otherwise, and what the paper leaves open")
