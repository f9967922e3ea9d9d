"""Whether dropout belongs to a row or to a rank."""

import torch
from torch import Tensor

from multitask.config import RunConfig
from multitask.data import Batch
from multitask.keys import generator_key
from multitask.model.row_dropout import RowDropout


class RankDropout:
    """Torch's own dropout, from the generator of the device."""

    def __init__(self, device: torch.device) -> None:
        self._generator = torch.cuda if device.type == "cuda" else torch

    def __enter__(self) -> "RankDropout":
        return self

    def __exit__(self, *raised: object) -> None:
        pass

    def position(self) -> Tensor:
        """Where the drawing of masks stands."""
        state: Tensor = self._generator.get_rng_state()
        return state

    def rewind(self, position: Tensor) -> None:
        """Go on drawing from `position`: passes from there on have the masks that they had."""
        self._generator.set_rng_state(position)


DropoutMasks = RowDropout | RankDropout


def row_dropout(config: RunConfig, task: str, batch: Batch, step: int) -> DropoutMasks:
    """Inside, all dropout on the rows of `batch` is keyed as `encoder.dropout_key` says; to be entered anew for each batch."""
    if config.encoder.dropout_key == "rank" or not config.drops(task):
        return RankDropout(batch.rows.device)
    return RowDropout(batch, generator_key(config.seed, "dropout", step, task))
