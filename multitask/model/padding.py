"""How long the sequences of a batch are made for the encoder."""

from typing import NamedTuple


class Padding(NamedTuple):
    """`to`: `longest`, `max_length`, or a number of which the length becomes a multiple; `max_length`: the longest sequence of the run."""

    to: str | int = "longest"
    max_length: int = 0

    @property
    def length(self) -> int | None:
        """What every sequence is padded to; None where it depends on the batch."""
        return self.max_length if self.to == "max_length" else None

    def more(self, tokens: int) -> int:
        """Columns that a batch of sequences of so many tokens gets behind them."""
        if self.length is not None:
            return self.length - tokens
        return max(0, min(-tokens % self.to, self.max_length - tokens)) if isinstance(self.to, int) else 0
