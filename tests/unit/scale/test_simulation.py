"""Plans against numbers that are worked out by hand."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster.scale.machine import Machine, machine
from cluster.scale.simulation import Simulation
from cluster.scale.step_time import collective_seconds, compute_seconds
from cluster.scale.traffic import Collective
from multitask.config import parse_config
from multitask.data import prepare_tables
from multitask.errors import UserError
from tests.builders import tiny_config
from tests.conftest import Ended
from tests.integration.commands import write_recipe

MACHINE = Machine(
    name="by hand",
    flops=1e12,
    peak=2e12,
    memory_bytes=1e9,
    memory_bytes_per_s=1e11,
    launch_s=0,
    message_s=1e-6,
    inside_s=1e-5,
    inside_bytes_per_s=1e10,
    outside_s=1e-4,
    outside_bytes_per_s=1e9,
    source="the test",
)


ORDERED = {
    "pair_encoding": {"name": "bi_encoder", "features": "cosine"},
    "head": {"name": "scaled"},
    "loss": {"name": "cosent"},
}


def simulation(folder: Path, bert: Path, **changes: Any) -> Simulation:
    config = parse_config(tiny_config(folder, encoder={"name": str(bert)}, **changes), "test")
    return Simulation(config, prepare_tables(config).train, MACHINE)


@pytest.mark.parametrize("gpus", [1, 3, 18])
def test_ranks_take_every_row_once(gpus: int, folder: Path, tiny_bert: Path) -> None:
    made = simulation(folder, tiny_bert)
    rows, plan = made.rows.rows(0), made.step(gpus)
    lengths = sum(int(np.asarray(made.rows.tables[task].lengths[own]).sum()) for task, own in rows.items())
    assert plan.work.rows == plan.work.sequences.sum() == 18
    assert plan.work.tokens.sum() == lengths
    assert {group for own in plan.work.held for group in own} == {0, 1, 2}


def test_step_takes_what_its_parts_take(folder: Path, tiny_bert: Path) -> None:
    made = simulation(folder, tiny_bert, combination={"name": "sum"})
    plan = made.step(1)
    cost = made.shape.cost.flops
    slots, squares = int(plan.work.slots[0]), int(plan.work.squares[0])
    assert plan.time.compute == pytest.approx((cost.once * 18 + cost.linear * slots + cost.quadratic * squares) / 1e12)
    assert plan.time.network == 0
    # A group: gradient read and written, combined; AdamW touches seven numbers for each parameter.
    trained, words = made.shape.trained, made.shape.elements((made.shape.words.name,)) if made.shape.words else 0
    dense = trained - words - sum(made.shape.elements(own) for own in made.shape.heads.values())
    moved = 2 * (trained - words) + 2 * dense + 7 * sum(-(-sum(own.values()) // 2) * 2 for own in made.shape.groups)
    assert plan.time.memory == pytest.approx(4 * moved / 1e11)


def test_buckets_but_the_last_hide_under_the_backward_pass(folder: Path, tiny_bert: Path) -> None:
    slow = MACHINE.model_copy(update={"flops": 1e6})
    fast = MACHINE.model_copy(update={"flops": 1e15})
    for machines in (slow, fast, slow.model_copy(update={"devices_at_once": 2})):
        config = parse_config(
            tiny_config(folder, encoder={"name": str(tiny_bert)}, cluster={"bucket_mb": 0.02}), "test"
        )
        plan = Simulation(config, prepare_tables(config).train, machines).step(3, per_host=3)
        seconds = {call.name: collective_seconds(call, machines, plan.host_of) for call in plan.collectives}
        buckets = [value for name, value in seconds.items() if name.startswith("gradients")]
        assert len(buckets) > 2
        assert plan.time.network + plan.time.hidden == pytest.approx(sum(seconds.values()))
        if machines.devices_at_once:
            assert plan.time.hidden == 0
        elif machines is slow:
            assert plan.time.hidden == pytest.approx(sum(buckets[:-1]))
        else:
            slowest = int(
                compute_seconds(Simulation(config, prepare_tables(config).train, machines).shape, plan.work, machines)[
                    0
                ].argmax()
            )
            assert plan.time.hidden == pytest.approx(2 / 3 * plan.time.compute / plan.work.passes[slowest])


def test_more_rows_for_each_gpu_are_taken_from_further_steps(folder: Path, tiny_bert: Path) -> None:
    made = simulation(folder, tiny_bert)
    assert made.step(4, rows_per_gpu=12).work.rows == pytest.approx(48, abs=3)
    assert made.step(64, rows_per_gpu=12).work.rows == pytest.approx(768, abs=3)


def test_links_are_those_of_the_hosts() -> None:
    hosts = np.array([0, 0, 1, 1])
    sent, outside = np.full(4, 3_000_000), np.full(4, 2_000_000)
    call = Collective("x", "all_to_all", sent, outside, 3)
    assert collective_seconds(call, MACHINE, hosts) == pytest.approx(1e-4 + 3e-6 + 4_000_000 / 1e9)
    assert collective_seconds(call._replace(kind="all_gather"), MACHINE, hosts) == pytest.approx(1e-5 + 2e-4 + 4e-3)
    assert collective_seconds(call._replace(kind="all_reduce"), MACHINE, hosts) == pytest.approx(4e-4 + 4e-3)
    alone = call._replace(outside=np.zeros(4, np.int64))
    assert collective_seconds(alone, MACHINE, np.zeros(4, np.int64)) == pytest.approx(1e-5 + 3e-6 + 3e-4)


def test_all_to_all_goes_out_of_a_host_but_for_its_own_ranks(folder: Path, tiny_bert: Path) -> None:
    """Shares of one size: of what one of four ranks sends to the three others, two thirds go to the other host."""
    made = simulation(folder, tiny_bert, combination={"name": "sum"}, cluster={"host_first": False})
    [gradients] = [call for call in made.step(4, per_host=2).collectives if call.name == "gradients 0"]
    assert gradients.outside[0] / gradients.sent[0] == pytest.approx(2 / 3, rel=0.35)
    [apart] = [call for call in made.step(4, per_host=1).collectives if call.name == "gradients 0"]
    assert (apart.outside == apart.sent).all()
    [together] = [call for call in made.step(4, per_host=4).collectives if call.name == "gradients 0"]
    assert not together.outside.any()


def test_sums_of_a_host_cross_instead_of_gradients(folder: Path, tiny_bert: Path) -> None:
    """Of four ranks with one gradient each: half of it to the other rank of the host, and of the half that is summed there half on."""
    made = simulation(folder, tiny_bert, combination={"name": "sum"})
    calls = {call.name: call for call in made.step(4, per_host=2).collectives}
    within, between = calls["gradients 0"], calls["gradients 0 between hosts"]
    [flat] = [call for call in made.step(4, per_host=4).collectives if call.name == "gradients 0"]
    assert (within.messages, between.messages, flat.messages) == (1, 1, 3)
    assert not within.outside.any()
    assert (between.outside == between.sent).all()
    # Each gradient once among two, instead of three times among four; the sums of two hosts once.
    assert within.sent.sum() / flat.sent.sum() == pytest.approx(2 / 3, rel=0.35)
    assert between.sent.sum() / flat.sent.sum() == pytest.approx(1 / 3, rel=0.35)


def test_memory_shrinks_with_shards_and_grows_with_groups(folder: Path, tiny_bert: Path) -> None:
    made = simulation(folder, tiny_bert)
    one, four = made.step(1).memory, made.step(4).memory
    assert four.optimizer == pytest.approx(one.optimizer / 4, rel=0.01)
    added = simulation(folder, tiny_bert, combination={"name": "sum"}).step(1).memory
    assert one.gradients - added.gradients == 2 * 4 * made.shape.elements(made.shape.dense)


@pytest.mark.parametrize(
    ("gpu", "network", "precision", "says"),
    [
        ("h1000", "200Gb", "bf16", "--gpu: "),
        ("h100", "fast", "bf16", "--network must be bits a second such as 25Gb or 200Gb, got 'fast'"),
        ("t4", "25Gb", "bf16", "--gpu: a t4 has no fast bf16; say precision=fp16"),
        ("none.json", "25Gb", "fp32", "--gpu: cannot read none.json: No such file or directory"),
    ],
)
def test_machines_that_are_not_known(gpu: str, network: str, precision: Any, says: str) -> None:
    with pytest.raises(UserError) as raised:
        machine(gpu, network, precision)
    assert str(raised.value).startswith(says)


def test_gpu_without_bf16_is_planned_in_fp16() -> None:
    assert (machine("t4", "25Gb", "fp16").peak, machine("t4", "25Gb", "fp32").peak) == (65e12, 8.1e12)


def test_machine_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "here.json"
    path.write_text(MACHINE.model_dump_json())
    assert machine(str(path), "1Gb", "fp32") == MACHINE
    path.write_text(json.dumps(MACHINE.model_dump() | {"flops": 0}))
    with pytest.raises(UserError, match=r"here\.json: flops: "):
        machine(str(path), "1Gb", "fp32")


def test_network_is_in_bits() -> None:
    assert machine("a100", "200Gb", "bf16").outside_bytes_per_s == 25e9
    assert machine("a100", "3.2Tbps", "bf16").outside_bytes_per_s == 400e9


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"zero": {"stage": 3}}, "zero.stage: "), ({"tasks": {"sts": ORDERED}}, "tasks.sts: ")],
)
def test_what_cannot_be_planned_is_refused(changes: dict[str, Any], says: str, folder: Path, tiny_bert: Path) -> None:
    with pytest.raises(UserError) as raised:
        simulation(folder, tiny_bert, **changes)
    assert str(raised.value).startswith(says)


def test_command_prints_the_plan(folder: Path, tiny_bert: Path, tmp_path: Path, concord: Callable[..., Ended]) -> None:
    recipe = write_recipe(tmp_path / "r.yaml", tiny_config(folder, encoder={"name": str(tiny_bert)}))
    shown = concord("plan", str(recipe), "--gpus", "64", "--price", "2")
    assert shown.code == 0, shown.err
    for words in ("efficiency", "memory of a GPU", "rows of words", "Nothing was measured"):
        assert words in " ".join(shown.out.split())
    told = json.loads(concord("plan", str(recipe), "--gpus", "64", "--price", "2", "--json").out)
    assert told["gpus"] == 64
    assert told["hosts"] == 8
    assert told["step_s"] == pytest.approx(
        sum(value for key, value in told["time"].items() if key not in ("launch_bound", "hidden"))
    )
    assert told["cost"] == pytest.approx(told["steps"] * told["step_s"] / 3600 * 64 * 2)
    assert told["messages_per_rank"] == sum(call["messages"] for call in told["collectives"])
