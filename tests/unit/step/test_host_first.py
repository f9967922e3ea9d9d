"""Gradients that are summed among the ranks of a host before they cross to others."""

import pytest
import torch
from torch import Tensor

from cluster.step.exchange import GradientExchange
from cluster.step.gradient_memory import owner_major, views
from cluster.step.layout import Layout
from cluster.step.shard_sums import ShardSums
from cluster.step.stages import Holders
from cluster.step.stopwatch import Stopwatch
from cluster.step.wire import Wire, block_size
from cluster.zero.partition import Partition
from tests.unit.step.gradients import check_shard, even_partition, random_gradients, sum_in_pairs
from tests.unit.step.threads import Ranks

CPU = torch.device("cpu")


@pytest.mark.parametrize("block", [None, 2, 4])
def test_hosts_of_several_ranks_send_their_sums(monkeypatch: pytest.MonkeyPatch, block: int | None) -> None:
    """Of 8 ranks, whatever their tasks: each has one of two groups, or both."""
    world, shapes = 8, {"w": (16, 5), "b": (16,)}
    shared, heads = Layout(list(shapes), even_partition(shapes, world)), Layout([], Partition(({},) * world, (), ()))
    held = [(0,), (0,), (0,), (0, 1), (1,), (1,), (1,), (1,)]
    given = [{row: random_gradients(shapes, 10 * rank + row) for row in own} for rank, own in enumerate(held)]

    def work(rank: int) -> list[Tensor]:
        sums = ShardSums(shared, heads, Wire(torch.float32, 20, block), CPU, Stopwatch(CPU))
        exchange = GradientExchange(shared, heads, {"a": [], "b": []}, sums, 10**6)
        tasks = [tuple("ab"[row] for row in own) for own in held]
        exchange.begin(Holders(held, tasks, [0, 1], dict.fromkeys(held[rank], 1)), 2)
        for row in held[rank]:
            with exchange.receiving(row) as take:
                for name in reversed(given[rank][row]):
                    take(name, given[rank][row][name])
        return exchange.finish()[0]

    ranks = Ranks(monkeypatch, world)
    for rank, shards in enumerate(ranks.run(work)):
        for row, shard in enumerate(shards):
            check_shard(shared, rank, shard, sum_in_pairs([own.get(row) for own in given], shapes))
    of_rank, per_host = 96, 4
    between = sum(number for (one, other), number in ranks.sent.items() if one // per_host != other // per_host)
    # Half of each gradient is the other host's: of 9 gradients, or of the sums in pairs of ranks, or of those of a host.
    assert between == {None: 9, 2: 5, 4: 3}[block] * of_rank // 2


def test_bf16_on_the_wire_rounds_gradients_and_the_sums_of_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not what is summed: sums are in fp32."""
    world, shapes = 4, {"w": (16, 5)}
    shared, heads = Layout(list(shapes), even_partition(shapes, world)), Layout([], Partition(({},) * world, (), ()))
    given = [random_gradients(shapes, rank) for rank in range(world)]

    def work(rank: int) -> Tensor:
        sums = ShardSums(shared, heads, Wire(torch.bfloat16, 20, 2), CPU, Stopwatch(CPU))
        exchange = GradientExchange(shared, heads, {"a": []}, sums, 10**6)
        exchange.begin(Holders([(0,)] * world, [("a",)] * world, [0], {0: 1}), 1)
        with exchange.receiving(0) as take:
            take("w", given[rank]["w"])
        return exchange.finish()[0][0]

    sent = [own["w"].bfloat16().float() for own in given]
    of_hosts = [(sent[host] + sent[host + 1]).bfloat16().float() for host in (0, 2)]
    for rank, shard in enumerate(Ranks(monkeypatch, world).run(work)):
        check_shard(shared, rank, shard, {"w": of_hosts[0] + of_hosts[1]})


@pytest.mark.parametrize(("size", "most"), [(768 * 768, 1), (768 * 768 - 3, 3), (10, 3)])
def test_zero_3_needs_few_copies_for_a_parameter_in_blocks(size: int, most: int) -> None:
    world, block = 64, 8
    part = -(-size // world)
    sizes = [min(part, max(0, size - rank * part)) for rank in range(world)]
    [base] = owner_major([sizes], block)
    pieces = [(rank * part, own, base[rank]) for rank, own in enumerate(sizes) if own]
    memory, flat = torch.zeros(size), torch.randn(size)
    made = views(pieces, memory)
    assert len(made) <= most
    for view in made:
        view.target.copy_(view.of(flat))
    for start, own, at in pieces:
        assert torch.equal(memory[at : at + own], flat[start : start + own])


@pytest.mark.parametrize(
    ("hosts", "block"),
    [
        ("a", 1),
        ("aa", 2),
        ("aaa", 3),
        ("ab", 2),
        ("aabb", 2),
        ("aaaabbbb", 4),
        ("aaaabb", 2),
        ("aaabbb", 6),
        ("aaaaaabbbbbb", 2),
        ("aabbaabb", 2),
        ("abab", 4),
        ("aabbc", 5),
    ],
)
def test_block_is_the_largest_power_of_two_of_ranks_that_share_a_host(hosts: str, block: int) -> None:
    assert block_size(hosts) == block
