"""A rank's rows of a task batch in micro-batches."""

import numpy as np


def micro_batches(rows: np.ndarray, tokens: np.ndarray, pieces: int, most_tokens: int | None) -> list[np.ndarray]:
    """`rows` in their order in `pieces` parts of like size, each cut further where it has more than `most_tokens`, padding included.

    `tokens` (rows,): what a row takes of a batch that is padded to it, its longest sequence times its sequences. A row is never
    cut: one with more tokens stands alone. Empty parts are left out.
    """
    places = [part for part in np.array_split(np.arange(len(rows)), pieces) if len(part)]
    if most_tokens is not None:
        places = [cut for part in places for cut in _cut(part, tokens[part], most_tokens)]
    return [rows[part] for part in places]


def _cut(places: np.ndarray, tokens: np.ndarray, most: int) -> list[np.ndarray]:
    found, start, longest = [], 0, 0
    for at, own in enumerate(tokens.tolist()):
        longest = max(longest, own)
        if at > start and (at + 1 - start) * longest > most:
            found.append(places[start:at])
            start, longest = at, own
    return [*found, places[start:]]
