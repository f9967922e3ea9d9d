"""Where a recipe comes from."""

from pydantic import Field

from multitask.config.base import Config


class SourceConfig(Config):
    """The published row that a recipe implements; it changes nothing in training."""

    paper: str = Field(description="authors or letter, and title")
    row: str = Field(description="what the paper calls it")
    scores: dict[str, float] = Field(default={}, description="published dev scores by task")
    overall: float | None = Field(default=None, description="where only an overall score was published")
    differs: str = Field(default="", description="what this recipe does otherwise, and what the paper leaves open")
