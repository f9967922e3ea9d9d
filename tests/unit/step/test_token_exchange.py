"""The exchange of word rows between ranks, which are threads here: what arrives equals a dense sum over all of them."""

import itertools

import pytest
import torch

from cluster.step.token_exchange import OwnedTokens, TokenExchange
from cluster.zero.partition import Fragment
from multitask.model import TokenGradient
from tests.unit.step.threads import Ranks

CPU = torch.device("cpu")
WORDS, WIDTH = 7, 4
# Fragments that start and end inside a word, lie inside one word, hold whole words only, or nothing.
CUTS = [[0, 28], [0, 16, 28], [0, 13, 28], [0, 5, 7, 28], [0, 6, 6, 27, 28]]


def _fragments(cuts: list[int]) -> list[Fragment | None]:
    pairs = itertools.pairwise(cuts)
    return [Fragment(low, high - low, 0, 3) if low < high else None for low, high in pairs]


def _tokens(rank: int, row: int) -> TokenGradient:
    generator = torch.Generator().manual_seed(31 * rank + row)
    ids = torch.randperm(WORDS, generator=generator)[:4].sort().values
    return TokenGradient(ids, torch.randn(4, WIDTH, generator=generator))


@pytest.mark.parametrize("cuts", CUTS)
def test_token_rows_equal_a_dense_sum_on_every_fragment(monkeypatch: pytest.MonkeyPatch, cuts: list[int]) -> None:
    world, rows, fragments = len(cuts) - 1, 3, _fragments(cuts)
    ranks = Ranks(monkeypatch, world)
    # Each rank holds row 0; the last one row 2, too; row 1 is held by none.
    given = [{0: _tokens(r, 0)} | ({2: _tokens(r, 2)} if r == world - 1 else {}) for r in range(world)]
    dense = torch.zeros(rows, WORDS, WIDTH)
    for own in given:
        for row, gradient in own.items():
            dense[row].index_add_(0, gradient.ids, gradient.rows)
    exchange = TokenExchange(fragments, WIDTH)
    found = ranks.run(lambda rank: exchange.exchange(given[rank], rows, CPU))
    flat = dense.flatten(1)
    torch.testing.assert_close(torch.stack([f.gramian() for f in found]).sum(0), flat @ flat.T)
    weights = torch.tensor([0.5, 3.0, -2.0])
    for fragment, owned in zip(fragments, found, strict=True):
        if fragment is None:
            assert not owned.ids.numel()
            continue
        out = torch.full((fragment.size,), 99.0)
        owned.write((weights @ owned.rows.flatten(1)).view(-1, WIDTH), fragment, out)
        places = owned.places() - fragment.start
        own = (places >= 0) & (places < fragment.size)
        torch.testing.assert_close(owned.rows.flatten(1)[:, own], flat[:, owned.places()[own]])
        torch.testing.assert_close(out, (weights @ flat)[fragment.start : fragment.start + fragment.size])


@pytest.mark.parametrize("world", [1, 2])
def test_round_without_tokens_gives_empty_rows_and_a_zero_gradient(monkeypatch: pytest.MonkeyPatch, world: int) -> None:
    fragments = _fragments([0, 28] if world == 1 else [0, 13, 28])
    found = Ranks(monkeypatch, world).run(lambda _: TokenExchange(fragments, WIDTH).exchange({}, 2, CPU))
    for fragment, owned in zip(fragments, found, strict=True):
        assert fragment is not None
        assert torch.equal(owned.gramian(), torch.zeros(2, 2))
        out = torch.full((fragment.size,), 99.0)
        owned.write(torch.zeros(0, WIDTH), fragment, out)
        assert not out.any()


def test_write_leaves_words_of_other_ranks_alone() -> None:
    fragment = Fragment(start=6, size=9, group=0, offset=0)
    rows = torch.arange(12.0).view(1, 3, 4) + 1
    out = torch.full((9,), 99.0)
    OwnedTokens(torch.tensor([1, 2, 3]), rows).write(10 * rows[0], fragment, out)
    # Word 1 from its third element on, word 2, word 3 up to its third.
    assert out.tolist() == [30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 100.0, 110.0]
