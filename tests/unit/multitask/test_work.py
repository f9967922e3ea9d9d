"""What each rank is given of a round, and what the dry run tells of it."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from cluster.launch.resources import plan_resources
from cluster.launch.run_plan import summarise_run
from multitask.config import RunConfig, parse_config
from multitask.data import Tables, collate, prepare_tables
from multitask.sampling import Schedule
from multitask.work import MicroBatch, RoundWork, WorkSource


def _works(config: RunConfig, tables: Tables, world: int, *, all_tasks: bool) -> list[list[RoundWork]]:
    """Per step the shares of all ranks."""
    sources = [
        WorkSource(config, tables.train, tables.pad_id, rank, world, all_tasks=all_tasks) for rank in range(world)
    ]
    schedule = Schedule(config, sources[0].sizes())
    return [[source.share(schedule.round(step)) for source in sources] for step in range(schedule.steps)]


def _texts(pieces: Sequence[MicroBatch]) -> list[tuple[int, ...]]:
    """The tokens of every row that counts, without padding."""
    return [
        tuple(ids[mask.bool()].tolist())
        for piece in pieces
        if piece.scale
        for ids, mask in zip(piece.batch.input_ids, piece.batch.attention_mask, strict=True)
    ]


@pytest.mark.parametrize("all_tasks", [True, False])
@pytest.mark.parametrize(("world", "accumulation"), [(1, 1), (1, 4), (3, 2), (7, 1)])
def test_ranks_and_pieces_hold_every_row_of_the_round_once(
    tiny_tasks: dict[str, Any], world: int, accumulation: int, all_tasks: bool
) -> None:
    """A peer's accumulation repeats the same batch; here the pieces of all ranks are the global batch, each row once."""
    tiny_tasks["data"]["batch_size"] = 7
    config = parse_config(tiny_tasks | {"training": {"accumulation": accumulation}}, "test")
    tables = prepare_tables(config)
    whole = _works(parse_config(tiny_tasks, "test"), tables, 1, all_tasks=False)
    for (one,), shares in zip(whole, _works(config, tables, world, all_tasks=all_tasks), strict=True):
        for number, task in enumerate(one.round.tasks):
            held = [share.batches.get(task, ()) for share in shares]
            rows = [row for pieces in held for row in _texts(pieces)]
            assert rows == _texts(one.batches[task])
            scales = [piece.scale for pieces in held for piece in pieces for _ in piece.batch.labels]
            assert sum(scales) == pytest.approx(1)
            assert {scale for scale in scales if scale} == {1 / len(rows)}
            takes_part = [bool(pieces) for pieces in held]
            assert takes_part == [number in holders for holders in shares[0].holders]
            if all_tasks:
                assert [len(pieces) for pieces in held] == [accumulation] * world


@pytest.mark.parametrize("most", [32, 64])
@pytest.mark.parametrize("all_tasks", [True, False])
def test_no_micro_batch_has_more_tokens_than_it_may(tiny_tasks: dict[str, Any], all_tasks: bool, most: int) -> None:
    pairs = {"pair_encoding": {"name": "bi_encoder", "features": "concat"}}
    tiny_tasks["tasks"]["quora"] |= pairs
    tiny_tasks["data"]["batch_size"] = 12
    config = parse_config(tiny_tasks | {"training": {"max_tokens_per_micro_batch": most}}, "test")
    tables = prepare_tables(config)
    for shares in _works(config, tables, 3, all_tasks=all_tasks):
        for task in shares[0].round.tasks:
            held = [share.batches.get(task, ()) for share in shares]
            pieces = [piece for own in held for piece in own]
            assert all(piece.batch.slots <= most for piece in pieces)
            for own in held:
                for one, other in pairwise(piece.batch for piece in own if piece.scale):
                    row = collate(tables.train[task], other.rows[:1].numpy(), tables.pad_id)
                    longest = max(one.input_ids.shape[1], row.input_ids.shape[1])
                    assert (len(one.rows) + 1) * one.sequences * longest > most, "cut no sooner than it must be"
            rows = [row for piece in pieces if piece.scale for row in piece.batch.rows.tolist()]
            assert len(rows) == len(set(rows)) == 12 or len(rows) == len(tables.train[task].labels) % 12
            if all_tasks:
                assert len({len(own) for own in held}) == 1


@pytest.mark.parametrize("sampling", [{"name": "sequential"}, {"name": "round_robin"}, {"name": "proportional"}])
def test_epoch_covers_every_row_of_every_task(tiny_tasks: dict[str, Any], sampling: dict[str, Any]) -> None:
    phases = [{"sampling": sampling}]
    config = parse_config(tiny_tasks | {"combination": {"name": "sum"}, "phases": phases}, "test")
    tables = prepare_tables(config)
    for task, table in tables.train.items():
        pieces = [
            piece
            for shares in _works(config, tables, 2, all_tasks=False)
            for share in shares
            for piece in share.batches.get(task, ())
        ]
        table_rows = collate(table, np.arange(table.rows), tables.pad_id)
        seen, wanted = Counter(_texts(pieces)), Counter(_texts([MicroBatch(table_rows, 1.0)]))
        # In round robin the smaller sets start again before the epoch ends.
        assert seen >= wanted if sampling["name"] == "round_robin" else seen == wanted


def test_dry_run_tells_sizes_by_phase_and_rows_that_are_not_used(tiny_tasks: dict[str, Any]) -> None:
    tasks = tiny_tasks["tasks"]
    tasks["sst"] |= {"train_rows": 20, "auxiliary": True}
    del tasks["sst"]["files"]["dev"]
    tiny_tasks["data"]["max_length"] = 8
    phases = [
        {"tasks": ["quora"], "sampling": {"name": "scaled_batch_sizes", "largest": 4}},
        {"tasks": ["quora", "sst"], "sampling": {"name": "scaled_batch_sizes", "batches": 5}, "epochs": 2},
    ]
    config = parse_config(tiny_tasks | {"phases": phases}, "test")
    plan = plan_resources(config.cluster, [{"CPU": 2.0, "GPU": 0.0}])
    told = summarise_run(config, plan, prepare_tables(config))
    assert told["steps"] == 15 + 2 * 5
    assert told["phases"] == [
        "1 epoch of scaled_batch_sizes over quora (15 batches of 4)",
        "2 epochs of scaled_batch_sizes over quora (5 batches of 12), sst (5 batches of 4)",
    ]
    assert told["sizes"][1]["sst"] == {"rows": 20, "batch_size": 4, "batches": 5}
    rows = {task: (own["train_rows"], own["used_rows"], own["dev_rows"]) for task, own in told["tasks"].items()}
    assert rows == {"sst": (60, 20, 0), "quora": (60, 60, 20), "sts": (50, 0, 20)}
    assert told["tasks"]["quora"]["cut_rows"] > 0
