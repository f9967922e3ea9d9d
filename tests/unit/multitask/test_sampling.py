"""Rounds as pure functions of the step; rows of batches."""

from collections import Counter
from typing import Any

import numpy as np
import pytest

from multitask.config import RunConfig, parse_config
from multitask.errors import UserError
from multitask.sampling import Schedule, TaskSize, task_sizes
from multitask.sampling.rows import TaskRows

SIZES = {"sst": 7, "quora": 3, "sts": 5}


def _config(tiny_tasks: dict[str, Any], *phases: dict[str, Any], **changes: Any) -> RunConfig:
    return parse_config(tiny_tasks | {"combination": {"name": "sum"}, "phases": list(phases)} | changes, "test")


def _schedule(config: RunConfig, batches: dict[str, int] = SIZES) -> Schedule:
    """The schedule of tasks with so many batches of 6 rows."""
    return Schedule(
        config,
        [
            {task: TaskSize(6 * batches[task], 6, batches[task]) for task in config.phase_tasks(phase)}
            for phase in range(len(config.phases))
        ],
    )


def _taken(schedule: Schedule, first: int, last: int) -> Counter[tuple[str, int]]:
    return Counter((b.task, n) for s in range(first, last) for b in schedule.round(s).batches for n in b.numbers)


def test_sequential_goes_through_each_task_in_turn(tiny_tasks: dict[str, Any]) -> None:
    schedule = _schedule(_config(tiny_tasks, {"sampling": {"name": "sequential"}, "epochs": 2}))
    assert schedule.steps == 30
    tasks = [schedule.round(s).tasks for s in range(15)]
    assert tasks == [("sst",)] * 7 + [("quora",)] * 3 + [("sts",)] * 5
    assert [schedule.round(15 + s).tasks for s in range(15)] == tasks
    assert _taken(schedule, 0, 30) == Counter((t, n) for t, size in SIZES.items() for n in range(2 * size))


@pytest.mark.parametrize(
    ("length", "reached"),
    [
        ({"steps_per_epoch": 10}, False),
        ({"steps_per_epoch": 11}, True),
        ({"steps_per_epoch": 5, "epochs": 2}, False),
        ({"steps_per_epoch": 6, "epochs": 2}, True),
        ({"rows_per_epoch": 60}, False),
        ({"rows_per_epoch": 66}, True),
        ({"steps_per_epoch": 7, "tasks": ["sst"]}, True),
    ],
)
def test_sequential_that_never_reaches_a_task_is_refused(
    tiny_tasks: dict[str, Any], length: dict[str, Any], reached: bool
) -> None:
    config = _config(tiny_tasks, {"epochs": 1}, {"sampling": {"name": "sequential"}, **length})
    if reached:
        schedule = _schedule(config)
        first = schedule.phase_steps(1).start
        tasks = {task for step in range(first, schedule.steps) for task in schedule.round(step).tasks}
        assert tasks == set(config.phase_tasks(1))
        return
    with pytest.raises(
        UserError, match=r"phases\.1: sequential never reaches task sts: .*begin after 10 steps.* has 10;"
    ):
        _schedule(config)


@pytest.mark.parametrize(("per_step", "steps"), [("all", 7), (1, 21), (2, 11)])
def test_round_robin_lets_small_sets_start_again(tiny_tasks: dict[str, Any], per_step: Any, steps: int) -> None:
    sampling = {"name": "round_robin", "tasks_per_step": per_step}
    schedule = _schedule(_config(tiny_tasks, {"sampling": sampling}))
    assert schedule.steps == steps
    if per_step == "all":
        assert all(schedule.round(s).tasks == ("sst", "quora", "sts") for s in range(7))
        assert [schedule.round(s).batches[1].numbers for s in range(7)] == [(s,) for s in range(7)]
    else:
        order = [t for s in range(steps) for t in schedule.round(s).tasks]
        assert Counter(order)["sst"] >= 7
        assert {t: order.count(t) - order.count("sst") for t in SIZES}.keys() == SIZES.keys()
        assert max(Counter(order).values()) - min(Counter(order).values()) <= 1


@pytest.mark.parametrize("per_step", [1, 2, 4])
def test_proportional_takes_every_batch_once_an_epoch(tiny_tasks: dict[str, Any], per_step: int) -> None:
    sampling = {"name": "proportional", "merged_batches": per_step}
    schedule = _schedule(_config(tiny_tasks, {"sampling": sampling, "epochs": per_step}))
    # After per_step epochs the slots come out even, whatever the last step of an epoch took in advance.
    slots = 15 * per_step // per_step
    taken = _taken(schedule, 0, slots)
    assert taken == Counter((t, n) for t, size in SIZES.items() for n in range(size * per_step))
    if per_step == 1:
        order = [schedule.round(s).tasks[0] for s in range(15)]
        assert order != sorted(order, key=list(SIZES).index)
    else:
        assert any(len(b.numbers) > 1 for s in range(slots) for b in schedule.round(s).batches)


def test_rounds_depend_on_seed_and_step_only(tiny_tasks: dict[str, Any]) -> None:
    phase = {"sampling": {"name": "proportional", "merged_batches": 2}, "epochs": 3}
    config = _config(tiny_tasks, phase)
    forwards = [_schedule(config).round(s) for s in range(20)]
    one = _schedule(config)
    assert [one.round(s) for s in reversed(range(20))] == forwards[::-1]
    other = _schedule(_config(tiny_tasks, phase, seed=99))
    assert [other.round(s) for s in range(20)] != forwards


def test_phases_follow_each_other(tiny_tasks: dict[str, Any]) -> None:
    schedule = _schedule(
        _config(
            tiny_tasks,
            {"tasks": ["quora"], "sampling": {"name": "sequential"}, "epochs": 2},
            {"sampling": {"name": "round_robin"}, "epochs": 2, "steps_per_epoch": 4},
        )
    )
    assert schedule.steps == 6 + 8
    assert [schedule.phase_of(s) for s in (0, 5, 6, 13)] == [0, 0, 1, 1]
    assert schedule.round(5).tasks == ("quora",)
    assert schedule.round(6).tasks == ("sst", "quora", "sts")
    assert schedule.round(6).batches[0].numbers == (0,)
    assert [s for s in range(15) if schedule.is_epoch_end(s)] == [3, 6, 10, 14]
    assert [schedule.epochs_done(s) for s in (0, 3, 6, 8, 14)] == [0, 1, 2, 2.5, 4]


def test_rows_come_once_a_pass_in_another_order_each(tiny_tasks: dict[str, Any]) -> None:
    config = _config(tiny_tasks, {"epochs": 1}, {"epochs": 1})
    lengths = np.random.default_rng(0).integers(4, 30, 50)
    size = TaskSize(50, 6, 9)
    rows = TaskRows(config, "sst", 0, lengths, size)
    first = np.concatenate([rows.rows((n,)) for n in range(9)])
    second = np.concatenate([rows.rows((n,)) for n in range(9, 18)])
    for order in (first, second):
        assert sorted(order) == list(range(50))
    assert not np.array_equal(first, second)
    other_phase = TaskRows(config, "sst", 1, lengths, size)
    assert not np.array_equal(first, np.concatenate([other_phase.rows((n,)) for n in range(9)]))
    again = TaskRows(config, "sst", 0, lengths, size)
    assert np.array_equal(again.rows((3, 11)), np.concatenate([rows.rows((3,)), rows.rows((11,))]))


PHASES = {
    "sequential": {"name": "sequential"},
    "all": {"name": "round_robin"},
    "two": {"name": "round_robin", "tasks_per_step": 2},
    "one": {"name": "round_robin", "tasks_per_step": 1},
    "proportional": {"name": "proportional"},
    "merged": {"name": "proportional", "merged_batches": 4},
    "scaled_batch_sizes": {"name": "scaled_batch_sizes", "batches": 4},
    "uniform": {"name": "uniform"},
    "square_root": {"name": "square_root", "tasks_per_step": 2},
    "temperature": {"name": "temperature", "temperature": 3, "cap": 20, "tasks_per_step": 3},
    "annealed": {"name": "annealed", "tasks_per_step": 2},
    "draw_weights": {"name": "draw_weights", "draw_weights": {"sst": 1, "quora": 5, "sts": 2}},
}


def test_rows_that_are_compared_meet_rows_of_all_lengths_and_none_is_alone(tiny_tasks: dict[str, Any]) -> None:
    """A contrastive task beside one that is not, over the same 321 rows in batches of 32."""
    columns = {"text": "sentence1", "text_pair": "sentence2"}
    texts = {"kind": {"name": "contrastive"}, "columns": columns, "files": {"train": "a"}}
    tree = tiny_tasks | {"tasks": tiny_tasks["tasks"] | {"texts": texts}, "data": {"batch_size": 32}}
    config = parse_config(tree | {"combination": {"name": "sum"}}, "test")
    sizes = task_sizes(config, 0, dict.fromkeys(config.tasks, 321))
    lengths = np.random.default_rng(1).integers(3, 100, 321).astype(np.int32)
    batches = {}
    for task in ("sts", "texts"):
        rows = TaskRows(config, task, 0, lengths, sizes[task])
        batches[task] = [rows.rows((number,)) for number in range(sizes[task].batches)]
        assert sorted(np.concatenate(batches[task]).tolist()) == list(range(321))
    assert [len(batch) for batch in batches["sts"]] == [32] * 10 + [1]
    assert [len(batch) for batch in batches["texts"]] == [32] * 9 + [33]
    spread = {task: np.mean([lengths[batch].std() for batch in own if len(batch) > 1]) for task, own in batches.items()}
    assert spread["sts"] < 0.4 * lengths.std()
    assert spread["texts"] == pytest.approx(lengths.std(), rel=0.1)


@pytest.mark.parametrize("sizes", [(1, 1, 1), (9, 2, 5), (1, 30, 4)])
@pytest.mark.parametrize("sampling", PHASES)
def test_rounds_of_any_sizes_hold_each_batch_of_a_task_once_in_its_order(
    tiny_tasks: dict[str, Any], sampling: str, sizes: tuple[int, ...]
) -> None:
    named = dict(zip(SIZES, sizes, strict=True))
    config = _config(tiny_tasks, {"sampling": PHASES[sampling], "epochs": 3})
    schedule = _schedule(config, named)
    rounds = [schedule.round(s) for s in range(schedule.steps)]
    for task in named:
        numbers = [n for r in rounds for b in r.batches if b.task == task for n in b.numbers]
        assert numbers == list(range(len(numbers)))
    for r in rounds:
        assert len(set(r.tasks)) == len(r.tasks)
        assert sorted(r.tasks, key=list(SIZES).index) == list(r.tasks)
    fresh = _schedule(config, named)
    order = np.random.default_rng(0).permutation(schedule.steps)
    assert all(fresh.round(int(s)) == rounds[s] for s in order)


@pytest.mark.parametrize(("sampling", "slots"), [("sequential", 1), ("proportional", 1), ("merged", 4)])
@pytest.mark.parametrize("sizes", [(1, 1, 1), (9, 2, 5), (1, 30, 4)])
def test_steps_of_an_epoch_take_all_batches(
    tiny_tasks: dict[str, Any], sampling: str, slots: int, sizes: tuple[int, ...]
) -> None:
    schedule = _schedule(
        _config(tiny_tasks, {"sampling": PHASES[sampling], "epochs": 1}), dict(zip(SIZES, sizes, strict=True))
    )
    assert schedule.steps == -(-sum(sizes) // slots)
    taken = _taken(schedule, 0, schedule.steps)
    assert set(taken) >= {(t, n) for t, size in zip(SIZES, sizes, strict=True) for n in range(size)}
    assert sum(taken.values()) == slots * schedule.steps
    assert set(taken.values()) == {1}


def test_share_of_a_task_is_that_of_its_batches(tiny_tasks: dict[str, Any]) -> None:
    sizes = {"sst": 600, "quora": 300, "sts": 100}
    schedule = _schedule(_config(tiny_tasks, {"sampling": PHASES["proportional"]}), sizes)
    first = Counter(schedule.round(s).tasks[0] for s in range(500))
    for task, size in sizes.items():
        assert abs(first[task] - size / 2) < 40


@pytest.mark.parametrize("limit", [None, 8, 12, 24])
def test_pass_takes_as_many_rows_as_asked_and_each_comes_up(tiny_tasks: dict[str, Any], limit: int | None) -> None:
    tiny_tasks["tasks"]["sst"]["rows_per_pass"] = limit
    config = _config(tiny_tasks, {"epochs": 1})
    size = task_sizes(config, 0, {"sst": 24, "quora": 24, "sts": 24})["sst"]
    rows = TaskRows(config, "sst", 0, np.random.default_rng(1).integers(3, 20, 24), size)
    taken = limit or 24
    assert size.batches == -(-taken // 6)
    whole = 24 // taken
    passes = [
        np.concatenate([rows.rows((n,)) for n in range(p * size.batches, (p + 1) * size.batches)])
        for p in range(4 * whole)
    ]
    assert all(len(set(p)) == len(p) == taken for p in passes)
    counts = Counter(row for p in passes for row in p.tolist())
    # Consecutive passes go through all rows before any comes again.
    assert counts == Counter(dict.fromkeys(range(24), 4))


def test_epoch_of_a_round_tells_the_fraction(tiny_tasks: dict[str, Any]) -> None:
    phase = {"sampling": {"name": "proportional"}, "epochs": 2, "steps_per_epoch": 5}
    schedule = _schedule(_config(tiny_tasks, phase))
    assert [schedule.round(s).epoch for s in (0, 1, 7)] == [0, 0.2, 1.4]
    assert [schedule.round(s).step for s in (0, 1, 7)] == [0, 1, 7]


def test_small_set_that_starts_again_is_shuffled_again(tiny_tasks: dict[str, Any]) -> None:
    """Peers repeat the same batches in the same order in every epoch, or `cycle` over the first pass of a small set."""
    config = _config(tiny_tasks, {"sampling": {"name": "round_robin"}, "epochs": 2})
    sizes = task_sizes(config, 0, {"sst": 48, "quora": 480, "sts": 96})
    schedule = Schedule(config, [sizes])
    rows = TaskRows(config, "sst", 0, np.random.default_rng(0).integers(3, 40, 48), sizes["sst"])
    numbers = [b.numbers for s in range(schedule.steps) for b in schedule.round(s).batches if b.task == "sst"]
    batches = [frozenset(rows.rows(n).tolist()) for n in numbers]
    passes = [batches[start : start + 8] for start in range(0, 160, 8)]
    assert all(sorted(row for batch in own for row in batch) == list(range(48)) for own in passes)
    assert len({frozenset(own) for own in passes}) == len(passes) == 20


@pytest.mark.parametrize("sampling", PHASES)
def test_rows_of_every_task_come_equally_often(tiny_tasks: dict[str, Any], sampling: str) -> None:
    """A peer makes a new iterator for each batch, so that it sees first batches only, and no epoch is ever covered."""
    config = _config(tiny_tasks, {"sampling": PHASES[sampling], "epochs": 4})
    table = {"sst": 45, "quora": 60, "sts": 25}
    sizes = task_sizes(config, 0, table)
    schedule = Schedule(config, [sizes])
    seen = {task: Counter(dict.fromkeys(range(number), 0)) for task, number in table.items()}
    rows = {task: TaskRows(config, task, 0, np.full(number, 9), sizes[task]) for task, number in table.items()}
    for step in range(schedule.steps):
        for batch in schedule.round(step).batches:
            seen[batch.task].update(rows[batch.task].rows(batch.numbers).tolist())
    for counts in seen.values():
        assert max(counts.values()) - min(counts.values()) <= 1
        assert min(counts.values()) >= 1


@pytest.mark.parametrize("sampling", PHASES)
def test_steps_per_epoch_sets_the_epoch_and_the_stream_goes_on(tiny_tasks: dict[str, Any], sampling: str) -> None:
    """Paper C caps an epoch at 500 rounds: the next epoch goes on where the last one stopped."""
    config = _config(tiny_tasks, {"sampling": PHASES[sampling], "epochs": 6, "steps_per_epoch": 4}, {})
    schedule = _schedule(config)
    assert [s for s in range(25) if schedule.is_epoch_end(s)] == [4, 8, 12, 16, 20, 24]
    assert [schedule.epoch_in_phase(s) for s in (0, 3, 4, 23, 24)] == [0, 0, 1, 5, 0]
    for task in SIZES:
        numbers = [n for s in range(24) for b in schedule.round(s).batches if b.task == task for n in b.numbers]
        assert numbers == list(range(len(numbers)))
