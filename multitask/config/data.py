"""Where the data lies and how it is read and batched."""

from typing import Literal

from pydantic import Field

from multitask.config.base import Config


class DataConfig(Config):
    """Reading, tokenising and batching, the same for every task."""

    root: str = Field(
        default=".", description="relative files are looked up here: a folder, package:NAME[/SUB] or a URI"
    )
    cache: str = Field(default="~/.cache/concord", description="folder of the tokenised, memory-mapped tables")
    on_bad_rows: Literal["error", "skip"] = Field(
        default="error", description="skip: leave them out, count and list them, refuse above data.bad_rows_limit"
    )
    bad_rows_limit: float = Field(
        default=0.01, ge=0, lt=1, description="share of a split's rows that on_bad_rows=skip may leave out"
    )
    max_length: int = Field(default=128, ge=4, le=32768, description="tokens of one sequence, special ones included")
    special_tokens: bool = Field(
        default=False, description="a special token that is written in a text, as [SEP], is one; else it is text"
    )
    batch_size: int = Field(default=32, ge=1, description="rows of one global batch of a task that names no own size")
    pool_batches: int = Field(
        default=64,
        ge=1,
        description="batches that are cut from one length-sorted pool: fewer mix rows more and pad more; contrastive "
        "tasks have 1",
    )
