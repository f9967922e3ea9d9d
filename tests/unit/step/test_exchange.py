"""The exchange of gradients between ranks, which are threads here: what arrives is a sum over all of them, in their order."""

import pytest
import torch
from torch import Tensor

from cluster.step.exchange import GradientExchange
from cluster.step.gradient_memory import views
from cluster.step.layout import Layout
from cluster.step.shard_sums import ShardSums
from cluster.step.stages import Holders
from cluster.step.stopwatch import Stopwatch
from cluster.step.wire import Wire
from cluster.zero.partition import Partition
from tests.unit.step.gradients import (
    Gradients,
    check_shard,
    even_partition,
    flat_partition,
    random_gradients,
    sum_in_order,
    sum_in_pairs,
)
from tests.unit.step.threads import Ranks

SHAPES = {"w": (4, 3), "b": (5,), "v": (2, 2)}
HEADS = {"heads.sst.weight": (3, 2), "heads.sts.bias": (3,)}
OF_HEADS = {"sst": ["heads.sst.weight"], "sts": ["heads.sts.bias"]}
CPU = torch.device("cpu")


def _exchange(
    shared: Layout, heads: Layout, most: int, dtype: torch.dtype = torch.float32, block: int | None = None
) -> GradientExchange:
    sums = ShardSums(shared, heads, Wire(dtype, 20, block), CPU, Stopwatch(CPU))
    return GradientExchange(shared, heads, OF_HEADS, sums, most)


def _pass(exchange: GradientExchange, group: int, gradients: Gradients) -> None:
    with exchange.receiving(group) as take:
        for name in reversed(gradients):
            take(name, gradients[name])


# Where the heads are cut, how the shared parameters are, and the ranks of a block.
PARTITIONS: dict[str, tuple[list[int], Partition, int | None]] = {
    "1": ([0, 21], flat_partition(SHAPES, [0, 21]), None),
    "2": ([0, 5, 9], flat_partition(SHAPES, [0, 5, 21]), None),
    "3": ([0, 3, 6, 9], flat_partition(SHAPES, [0, 7, 14, 21]), None),
    "one owns nothing": ([0, 0, 8, 9], flat_partition(SHAPES, [0, 0, 20, 21]), None),
    "ZeRO 3 on 3": ([0, 3, 6, 9], even_partition(SHAPES, 3), None),
    "ZeRO 3 on 4": ([0, 3, 6, 8, 9], even_partition(SHAPES, 4), None),
    "2 hosts of 2": ([0, 3, 6, 8, 9], flat_partition(SHAPES, [0, 5, 9, 17, 21]), 2),
    "2 hosts of 2, one owns nothing": ([0, 0, 6, 8, 9], flat_partition(SHAPES, [0, 6, 6, 17, 21]), 2),
    "3 hosts of 2": ([0, 3, 5, 6, 7, 8, 9], flat_partition(SHAPES, [0, 3, 5, 9, 13, 17, 21]), 2),
    "ZeRO 3 on 2 hosts of 2": ([0, 3, 6, 8, 9], even_partition(SHAPES, 4), 2),
    "ZeRO 3 on 2 hosts of 4": ([0, 1, 2, 3, 4, 5, 6, 8, 9], even_partition(SHAPES, 8), 4),
}
# By group and rank the passes; group 2 is held by nobody.
PASSES = {
    "all ranks hold all": lambda rank, world: {0: 1, 1: 1},
    "some after several passes": lambda rank, world: {0: 2, 1: 1},
    "the last holds another, too": lambda rank, world: {0: 1, 1: 1} if rank == world - 1 else {0: 1},
    "each its own": lambda rank, world: {rank % 2: 2},
    "the last holds nothing": lambda rank, world: {} if rank == world - 1 and rank else {0: 1, 1: 3},
}


def _two_steps(held: list[dict[int, int]]) -> dict[tuple[int, int, int], list[dict[str, Tensor]]]:
    """What each pass of a rank to a row gives, by step, rank and row: of the first step nothing may be left in the second."""
    given = {
        (step, rank, row): [random_gradients(SHAPES, 1000 * step + 100 * rank + 10 * row + n) for n in range(number)]
        for step in range(2)
        for rank, own in enumerate(held)
        for row, number in own.items()
    }
    if (1, 0, 0) in given:
        given[1, 0, 0][0:1] = [{"v": torch.ones(2, 2)}]
    return given


@pytest.mark.parametrize("most", [1, 10, 10**6])
@pytest.mark.parametrize("passes", PASSES)
@pytest.mark.parametrize("partition", PARTITIONS)
def test_shards_are_sums_over_the_ranks_that_hold_them_in_their_order(
    monkeypatch: pytest.MonkeyPatch, partition: str, passes: str, most: int
) -> None:
    cuts, owned, block = PARTITIONS[partition]
    world, rows = len(owned.owned), 3
    ranks = Ranks(monkeypatch, world)
    shared, heads = Layout(list(SHAPES), owned), Layout(list(HEADS), flat_partition(HEADS, [min(c, 9) for c in cuts]))
    held = [PASSES[passes](rank, world) for rank in range(world)]
    given = _two_steps(held)
    of_heads = [random_gradients(HEADS, rank) for rank in range(world)]
    of_group = {0: "sst", 1: "sts"}
    tasks = [tuple(of_group[row] for row in sorted(own)) for own in held]

    def work(rank: int) -> tuple[list[Tensor], Tensor]:
        exchange = _exchange(shared, heads, most, block=block)
        for step in range(2):
            exchange.begin(Holders([tuple(sorted(own)) for own in held], tasks, [1, 0], held[rank]), rows)
            for row in sorted(held[rank], reverse=True):
                for gradients in given[step, rank, row]:
                    _pass(exchange, row, gradients)
            for task in tasks[rank]:
                exchange.add_heads(task, {name: of_heads[rank][name] for name in OF_HEADS[task]})
            shards, head = exchange.finish()
        return shards, head

    for rank, (shards, head) in enumerate(ranks.run(work)):
        for row in range(rows):
            local = [sum_in_order(given[1, r, row], SHAPES) if row in held[r] else None for r in range(world)]
            check_shard(shared, rank, shards[row], sum_in_pairs(local, SHAPES))
        trained = [
            {name: own[name] for task in its for name in OF_HEADS[task]}
            for own, its in zip(of_heads, tasks, strict=True)
        ]
        check_shard(heads, rank, head, sum_in_pairs(trained, HEADS))
    assert ranks.most_underway <= (3 if block is None else 4)


def test_gradients_of_a_head_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    shared, heads = (Layout(list(s), flat_partition(s, [0, 21])) for s in (SHAPES, HEADS))

    def work(_: int) -> Tensor:
        exchange = _exchange(shared, heads, 10**6)
        exchange.begin(Holders([(0,)], [("sst", "sts")], [0], {0: 1}), 1)
        for _ in range(2):
            exchange.add_heads("sts", {"heads.sts.bias": torch.ones(3)})
        return exchange.finish()[1]

    [head] = Ranks(monkeypatch, 1).run(work)
    check_shard(heads, 0, head, sum_in_order([], HEADS) | {"heads.sts.bias": torch.full((3,), 2.0)})


def test_ranks_that_hold_the_same_groups_by_other_tasks_send_in_the_same_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups {a, c} and {b}: the first rank has a and a part of b, the second the rest of b and c."""
    shared, heads = Layout(list(SHAPES), even_partition(SHAPES, 2)), Layout([], Partition(({}, {}), (), ()))
    given = [[random_gradients(SHAPES, 10 * rank + row) for row in range(2)] for rank in range(2)]

    def work(rank: int) -> list[Tensor]:
        sums = ShardSums(shared, heads, Wire(torch.float32, 20), CPU, Stopwatch(CPU))
        exchange = GradientExchange(shared, heads, {"a": [], "b": [], "c": []}, sums, 10)
        exchange.begin(Holders([(0, 1), (0, 1)], [("a", "b"), ("b", "c")], [1, 0], {0: 1, 1: 1}), 2)
        for row in ((0, 1), (1, 0))[rank]:
            _pass(exchange, row, given[rank][row])
        return exchange.finish()[0]

    for rank, shards in enumerate(Ranks(monkeypatch, 2).run(work)):
        for row, shard in enumerate(shards):
            check_shard(shared, rank, shard, sum_in_order([own[row] for own in given], SHAPES))


def test_what_has_left_is_not_sent_again_while_it_is_underway(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranks that are not equally fast: a bucket waits in memory of its own until the slowest has sent it."""
    world, shapes = 3, {f"p{number}": (3, 7) for number in range(12)}
    ranks, shared = Ranks(monkeypatch, world), Layout(list(shapes), even_partition(shapes, world))
    given = [[random_gradients(shapes, 10 * rank + row) for row in range(3)] for rank in range(world)]
    heads = Layout(list(HEADS), even_partition(HEADS, world))

    def work(rank: int) -> list[Tensor]:
        exchange = _exchange(shared, heads, 21)
        exchange.begin(Holders([(0, 1, 2)] * world, [()] * world, [0, 1, 2], dict.fromkeys(range(3), 1)), 3)
        for row, gradients in enumerate(given[rank]):
            _pass(exchange, row, gradients)
        return exchange.finish()[0]

    for rank, shards in enumerate(ranks.run(work)):
        for row, shard in enumerate(shards):
            check_shard(shared, rank, shard, sum_in_order([own[row] for own in given], shapes))
    assert ranks.most_underway == 3


@pytest.mark.parametrize("world", [1, 3])
def test_bf16_on_the_wire_rounds_what_is_sent_and_not_its_sum(monkeypatch: pytest.MonkeyPatch, world: int) -> None:
    shared, heads = (Layout(list(shapes), even_partition(shapes, world)) for shapes in (SHAPES, HEADS))
    given = [random_gradients(SHAPES, rank) for rank in range(world)]

    def work(rank: int) -> Tensor:
        exchange = _exchange(shared, heads, 10, torch.bfloat16)
        exchange.begin(Holders([(0,)] * world, [()] * world, [0], {0: 1}), 1)
        _pass(exchange, 0, given[rank])
        return exchange.finish()[0][0]

    sent = [{name: g.bfloat16().float() for name, g in own.items()} if world > 1 else own for own in given]
    for rank, shard in enumerate(Ranks(monkeypatch, world).run(work)):
        check_shard(shared, rank, shard, sum_in_order(sent, SHAPES))


@pytest.mark.parametrize(("size", "world", "most"), [(768 * 768, 64, 1), (768, 7, 2), (10, 64, 1), (29, 8, 2)])
def test_zero_3_needs_few_copies_for_a_parameter(size: int, world: int, most: int) -> None:
    """One where the owners have as much of it, one more for what is left; not one for every owner."""
    part = -(-size // world)
    sizes = [min(part, max(0, size - rank * part)) for rank in range(world)]
    stride = part + 5
    memory = torch.zeros(stride * world)
    pieces = [(rank * part, own, rank * stride + 2) for rank, own in enumerate(sizes) if own]
    made = views(pieces, memory)
    assert len(made) <= most
    flat = torch.randn(size)
    for view in made:
        view.target.copy_(view.of(flat))
    assert torch.equal(torch.cat([memory[at : at + own] for _, own, at in pieces]), flat)


def test_every_element_of_a_rank_has_one_place() -> None:
    layout = Layout(list(SHAPES), flat_partition(SHAPES, [0, 7, 14, 21]))
    for rank in range(3):
        taken = sorted((at, at + size) for _, at, size in layout.parts_of(rank))
        assert [low for low, _ in taken] == [0, *(high for _, high in taken[:-1])]
        assert taken[-1][1] == layout.segments[rank] == 7
