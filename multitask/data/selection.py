"""Which rows of its files a split has."""

import hashlib
from collections.abc import Sequence

from multitask.config import TaskConfig
from multitask.config.files import HoldOut
from multitask.data.values import spelled

_HASHES = 2.0**64


class Filter:
    """The rows whose columns have the values that `where` names for a split.

    `columns`: those that it looks at. `split`: where the rows are drawn from, `train` for a split that is held out of it.
    """

    def __init__(self, task: TaskConfig, split: str) -> None:
        self.split = "train" if task.hold_out and split in task.hold_out.splits else split
        wanted = next((own for name, own in task.where.items() if name == self.split), {})
        self.columns = tuple(wanted)
        self._allowed = [frozenset().union(*map(_spellings, values)) for values in wanted.values()]

    def keeps(self, values: Sequence[object]) -> bool:
        """Whether the row with these `values` of the columns is one of the split's."""
        return all(spelled(value) in allowed for value, allowed in zip(values, self._allowed, strict=True))


def held_out_split(hold_out: HoldOut, text: str, text_pair: str | None) -> str:
    """The split of a row of the training files, by a hash of its texts and the seed."""
    # Texts hold no NUL: validation refuses it.
    joined = text if text_pair is None else f"{text}\0{text_pair}"
    digest = hashlib.blake2b(joined.encode(), digest_size=8, key=str(hold_out.seed).encode()).digest()
    place = int.from_bytes(digest) / _HASHES
    return "dev" if place < hold_out.dev else "test" if place < hold_out.dev + hold_out.test else "train"


def _spellings(value: bool | int | float | str) -> frozenset[str]:
    """What stands for `value` in files: for what YAML reads as true or false, all that it reads so."""
    if not isinstance(value, bool):
        return frozenset({spelled(value)})
    words = ("true", "yes", "on") if value else ("false", "no", "off")
    return frozenset(form for word in words for form in (word, word.upper(), word.title()))
