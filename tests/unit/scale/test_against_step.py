"""What the plan works out for each rank, beside the step's own layout, buffers, words and batches, in one process."""

from pathlib import Path
from typing import Any

import pytest
import torch

from cluster.scale.machine import machine
from cluster.scale.model_shape import ModelShape
from cluster.scale.shares import Shares
from cluster.scale.simulation import Simulation
from cluster.step.buckets import bucket_elements
from cluster.step.exchange import GradientExchange
from cluster.step.layout import Layout
from cluster.step.shard_sums import ShardSums
from cluster.step.stages import Holders
from cluster.step.stopwatch import Stopwatch
from cluster.step.token_exchange import TokenExchange
from cluster.step.wire import Wire
from cluster.zero.partition import Fragment, Partition
from multitask.config import parse_config
from multitask.data import prepare_tables
from multitask.model import TokenGradient
from multitask.work import RoundWork, WorkSource
from tests.builders import tiny_config


def _partition(shape: ModelShape, world: int) -> Partition:
    shares = Shares(shape.groups, world, 1)
    owned: list[dict[str, Fragment]] = [{} for _ in range(world)]
    for group in shape.groups:
        for name in group:
            for rank, (start, size) in enumerate(zip(*shares.fragment(name), strict=True)):
                if size:
                    owned[rank][name] = Fragment(int(start), int(size), 0, 0)
    return Partition(tuple(owned), (), ())


def _word_rows(work: RoundWork, group_of: list[int], exchange: TokenExchange, padding: int, rank: int) -> int:
    """Rows of words that the real exchange cuts out for other ranks."""
    ids: dict[int, list[torch.Tensor]] = {}
    for k, task in enumerate(work.round.tasks):
        for micro in work.batches.get(task, ()):
            ids.setdefault(group_of[k], []).append(micro.batch.input_ids.reshape(-1))
    sent: list[list[int]] = []
    exchange._send = lambda counts, ids, values: (sent.append(counts.sum(1).tolist()), (counts, ids, values))[1]  # type: ignore[method-assign]
    exchange._sum = lambda *arguments: None  # type: ignore[assignment, method-assign, return-value]
    found = {group: torch.unique(torch.cat(own)) for group, own in ids.items()}
    gradients = {
        group: TokenGradient(own[own != padding], torch.zeros(int((own != padding).sum()), exchange.width))
        for group, own in found.items()
    }
    exchange.exchange(gradients, 1 + max(group_of), torch.device("cpu"))
    return sum(sent[0]) - sent[0][rank]


class _Call:
    """A collective that is over at once."""

    def wait(self) -> None:
        """Nothing comes."""


def _gradient_bytes(
    layouts: tuple[Layout, Layout],
    holders: Holders,
    groups: int,
    simulation: Simulation,
    block: int,
    monkeypatch: pytest.MonkeyPatch,
) -> list[int]:
    """What the real exchange sends to others, call by call, in blocks of so many ranks."""
    device, cluster, sent = torch.device("cpu"), simulation.config.cluster, []
    rank = torch.distributed.get_rank()

    def send(
        received: torch.Tensor, given: torch.Tensor, take: list[int], give: list[int], group: list[int], async_op: bool
    ) -> _Call:
        assert len(given) == sum(give)
        sent.append((sum(give) - give[group.index(rank)]) * given.element_size())
        return _Call()

    everyone = list(range(torch.distributed.get_world_size()))
    monkeypatch.setattr("torch.distributed.new_group", lambda ranks=everyone, **_: ranks)
    monkeypatch.setattr("torch.distributed.all_to_all_single", send)
    wire = Wire({"fp32": torch.float32, "bf16": torch.bfloat16}[cluster.wire], 1, block)
    sums = ShardSums(*layouts, wire, device, Stopwatch(device))
    heads = simulation.shape.heads
    exchange = GradientExchange(*layouts, heads, sums, bucket_elements(cluster.bucket_mb))
    exchange.begin(holders, groups)
    exchange.finish()
    return sent


@pytest.mark.parametrize(("world", "per_host"), [(2, 8), (3, 8), (5, 8), (4, 2), (6, 2), (8, 4)])
@pytest.mark.parametrize(
    "changes",
    [
        {"combination": {"name": "sum"}},
        {"combination": {"name": "pcgrad"}, "cluster": {"bucket_mb": 0.02}},
        {"training": {"accumulation": 3}, "cluster": {"wire": "bf16"}},
    ],
)
def test_plan_is_that_of_the_steps_own_parts(
    world: int, per_host: int, changes: dict[str, Any], folder: Path, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = parse_config(tiny_config(folder, encoder={"name": str(tiny_bert)}, **changes), "test")
    tables = prepare_tables(config)
    simulation = Simulation(config, tables.train, machine("h100", "200Gb", "bf16"))
    shape, partition = simulation.shape, _partition(simulation.shape, world)
    assert shape.words is not None
    shared = Layout(list(shape.dense), partition)
    heads = Layout([name for own in shape.heads.values() for name in own], partition)
    fragments = [own.get(shape.words.name) for own in partition.owned]
    monkeypatch.setattr("torch.distributed.get_world_size", lambda *_: world)
    for step in range(3):
        plan = simulation.step(world, per_host, step=step)
        sent = {call.name: call.sent for call in plan.collectives}
        for rank in range(world):
            source = WorkSource(config, tables.train, tables.pad_id, rank, world, all_tasks=False)
            work = source.share(simulation.rows.schedule.round(step))
            groups = simulation.combination.plan(work.round.tasks, step).groups
            group_of = [next(g for g, own in enumerate(groups) if task in own) for task in work.round.tasks]
            monkeypatch.setattr("torch.distributed.get_rank", lambda rank=rank: rank)
            holders = Holders.of(work, group_of)
            planned = [call.sent[rank] for call in plan.collectives if call.name.startswith(("gradients", "heads"))]
            block = min(world, per_host)
            found = _gradient_bytes((shared, heads), holders, len(groups), simulation, block, monkeypatch)
            assert sorted(planned) == sorted(found)
            exchange = TokenExchange(fragments, shape.words.width)
            rows = _word_rows(work, group_of, exchange, shape.words.padding, rank)
            assert sent["words"][rank] == 8 * rows
            assert sent["rows of words"][rank] == 4 * shape.words.width * rows
            micros = [micro for own in work.batches.values() for micro in own]
            assert plan.work.passes[rank] == len(micros)
            assert plan.work.slots[rank] == sum(micro.batch.slots for micro in micros)
            assert plan.work.tokens[rank] == sum(micro.batch.tokens for micro in micros)
