"""Rows of several ranks become one message each, and rank 0 takes them apart again."""

import numpy as np
import pytest
import torch
from torch import Tensor

from multitask.evaluation import shared

# The last rank has none: there were fewer batches than ranks.
ROWS = (3, 5, 0)


def _own(rank: int) -> list[Tensor]:
    """Classes, chances in an odd number, numbers of sets, and embeddings of two texts."""
    generator, rows = torch.Generator().manual_seed(rank), ROWS[rank]
    return [
        torch.randint(9, (rows,), generator=generator),
        torch.rand(rows, 3, generator=generator),
        torch.rand(rows, generator=generator, dtype=torch.float64),
        torch.rand(rows, 2, 5, generator=generator).transpose(1, 2),
        torch.randint(2, (rows,), generator=generator).bool(),
    ]


def test_rank_zero_has_what_all_ranks_gave(monkeypatch: pytest.MonkeyPatch) -> None:
    messages: dict[int, Tensor] = {}

    def gather(rank: int) -> list[list[np.ndarray]] | None:
        def collect(message: Tensor, received: list[Tensor] | None) -> None:
            messages[rank] = message
            for other, into in enumerate(received or []):
                into.copy_(messages[other])

        monkeypatch.setattr(shared, "place", lambda: (rank, len(ROWS)))
        monkeypatch.setattr(shared.dist, "gather", collect)
        return shared.gather_rows(_own(rank), ROWS)

    assert [gather(rank) for rank in (1, 2)] == [None, None]
    found = gather(0)
    assert found is not None
    for number, arrays in enumerate(found):
        for rank, array in enumerate(arrays):
            wanted = _own(rank)[number].numpy()
            assert (array.dtype, array.shape) == (wanted.dtype, wanted.shape)
            assert np.array_equal(array, wanted)
    sizes = 8 + 3 * 4 + 8 + 2 * 5 * 4 + 1
    assert {len(message) for message in messages.values()} == {5 * sizes}


def test_one_process_sends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared.dist, "gather", None)
    found = shared.gather_rows(_own(0), (3,))
    assert found is not None
    assert all(np.array_equal(own[0], wanted.numpy()) for own, wanted in zip(found, _own(0), strict=True))
