"""The exchange of gradients between ranks, which are threads here: what arrives equals a dense sum over all of them."""

import itertools
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from cluster.step.exchange import GradientBuffer, buffer_size, exchange_gradients
from cluster.step.layout import Layout
from cluster.step.token_exchange import OwnedTokens, TokenExchange
from cluster.zero.partition import Fragment, Partition
from multitask.model import TokenGradient

T = TypeVar("T")
SHAPES = {"w": (4, 3), "b": (5,), "v": (2, 2)}
HEADS = {"heads.sst.weight": (3, 2), "heads.sts.bias": (3,)}
CPU = torch.device("cpu")


class Ranks:
    """As many threads as ranks; each calls `torch.distributed` as its process would."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, world: int) -> None:
        self.world, self._own = world, threading.local()
        self._barrier, self._sent = threading.Barrier(world), [[] for _ in range(world)]  # type: ignore[var-annotated]
        monkeypatch.setattr(dist, "get_rank", lambda: self._own.rank)
        monkeypatch.setattr(dist, "get_world_size", lambda: world)
        monkeypatch.setattr(dist, "all_to_all_single", self._all_to_all)

    def _all_to_all(
        self, out: Tensor, given: Tensor, take: list[int] | None = None, give: list[int] | None = None
    ) -> None:
        even = [len(given) // self.world] * self.world
        self._sent[self._own.rank] = list(given.clone().split(give or even))
        self._barrier.wait(timeout=20)
        parts = [self._sent[sender][self._own.rank] for sender in range(self.world)]
        assert [len(part) for part in parts] == (take or even)
        out.copy_(torch.cat(parts))
        self._barrier.wait(timeout=20)

    def run(self, work: Callable[[int], T]) -> list[T]:
        results: list[Any] = [None] * self.world

        def target(rank: int) -> None:
            self._own.rank = rank
            results[rank] = work(rank)

        threads = [threading.Thread(target=target, args=(rank,)) for rank in range(self.world)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        return results


def _partition(shapes: dict[str, tuple[int, ...]], cuts: list[int]) -> Partition:
    """The flat concatenation of the parameters, cut at `cuts`: what ZeRO 1 does."""
    owned: list[dict[str, Fragment]] = []
    for low, high in itertools.pairwise(cuts):
        mine, position = {}, 0
        for name, shape in shapes.items():
            size = torch.Size(shape).numel()
            start, end = max(low, position), min(high, position + size)
            if start < end:
                mine[name] = Fragment(start - position, end - start, 0, start - low)
            position += size
        owned.append(mine)
    return Partition(tuple(owned), (), ())


def _random(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def _sum(parts: list[dict[str, Tensor]], shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    return {
        name: torch.stack([p[name] for p in parts]).sum(0) if parts else torch.zeros(shape)
        for name, shape in shapes.items()
    }


def _check(layout: Layout, rank: int, shard: Tensor, wanted: dict[str, Tensor]) -> None:
    assert len(shard) == layout.segments[rank]
    for name, places in layout.places.items():
        for owner, fragment, at in places:
            if owner == rank:
                part = wanted[name].flatten()[fragment.start : fragment.start + fragment.size]
                torch.testing.assert_close(shard[at : at + fragment.size], part)


@pytest.mark.parametrize("cuts", [[0, 21], [0, 5, 21], [0, 7, 14, 21], [0, 0, 20, 21]])
def test_shards_of_all_rows_are_sums_over_the_ranks_that_hold_them(
    monkeypatch: pytest.MonkeyPatch, cuts: list[int]
) -> None:
    world, rows = len(cuts) - 1, 3
    ranks = Ranks(monkeypatch, world)
    shared = Layout(list(SHAPES), _partition(SHAPES, cuts))
    heads = Layout(list(HEADS), _partition(HEADS, [c * 9 // 21 for c in cuts]))
    # Row 0 on all ranks, row 1 on the last one only, row 2 on none.
    holders = [[0, 1] if rank == world - 1 else [0] for rank in range(world)]
    gradients = {(rank, row): _random(SHAPES, 10 * rank + row) for rank in range(world) for row in holders[rank]}
    of_heads = [_random(HEADS, 100 + rank) for rank in range(world)]

    def work(rank: int) -> tuple[list[Tensor], Tensor]:
        held = holders[rank]
        storage = torch.full((buffer_size(shared, heads, len(held)) + 7,), torch.nan)
        buffer = GradientBuffer(shared, heads, len(held), storage)
        buffer.clear()
        for place, row in enumerate(held):
            buffer.add(place, gradients[rank, row])
        buffer.add_heads(of_heads[rank])
        return exchange_gradients(buffer, shared, heads, holders, rows)

    for rank, (shards, head_shard) in enumerate(ranks.run(work)):
        for row in range(rows):
            wanted = _sum([gradients[r, row] for r in range(world) if row in holders[r]], SHAPES)
            _check(shared, rank, shards[row], wanted)
        _check(heads, rank, head_shard, _sum(of_heads, HEADS))


def _alone(monkeypatch: pytest.MonkeyPatch) -> tuple[Ranks, Layout, Layout, GradientBuffer]:
    shared, heads = Layout(list(SHAPES), _partition(SHAPES, [0, 21])), Layout(list(HEADS), _partition(HEADS, [0, 9]))
    storage = torch.full((buffer_size(shared, heads, 2),), 77.0)
    return Ranks(monkeypatch, 1), shared, heads, GradientBuffer(shared, heads, 2, storage)


def test_micro_batches_add_up_and_missing_gradients_are_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    ranks, shared, heads, buffer = _alone(monkeypatch)
    first, second = _random(SHAPES, 1), _random(SHAPES, 2)
    buffer.add(1, first | {"b": None})
    buffer.add(1, second | {"b": None})
    buffer.add_heads({"heads.sts.bias": torch.ones(3)})
    buffer.add_heads({"heads.sts.bias": torch.ones(3)})
    [(shards, head_shard)] = ranks.run(lambda _: exchange_gradients(buffer, shared, heads, [[0, 1]], 2))
    _check(shared, 0, shards[0], _sum([], SHAPES))
    _check(shared, 0, shards[1], _sum([first, second], SHAPES) | {"b": torch.zeros(5)})
    _check(heads, 0, head_shard, _sum([], HEADS) | {"heads.sts.bias": torch.full((3,), 2.0)})


def test_nothing_of_the_last_step_is_left_in_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    ranks, shared, heads, buffer = _alone(monkeypatch)
    for row in range(2):
        buffer.add(row, _random(SHAPES, row))
    buffer.add_heads(_random(HEADS, 3))
    ranks.run(lambda _: exchange_gradients(buffer, shared, heads, [[0, 1]], 2))
    buffer.clear()
    only = _random(SHAPES, 9)
    buffer.add(0, {"w": only["w"]})
    [(shards, head_shard)] = ranks.run(lambda _: exchange_gradients(buffer, shared, heads, [[0, 1]], 2))
    _check(shared, 0, shards[0], _sum([], SHAPES) | {"w": only["w"]})
    assert not shards[1].any()
    assert not head_shard.any()


def test_every_element_of_a_rank_has_one_place() -> None:
    layout = Layout(list(SHAPES), _partition(SHAPES, [0, 7, 14, 21]))
    for rank in range(3):
        taken = sorted((at, at + size) for _, at, size in layout.parts_of(rank))
        assert [low for low, _ in taken] == [0, *(high for _, high in taken[:-1])]
        assert taken[-1][1] == layout.segments[rank] == 7


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
