"""How large a task's batches and passes are: batch sizes in proportion, rows that are used."""

from typing import Any

import numpy as np
import pytest

from multitask.config import RunConfig, parse_config
from multitask.sampling import Schedule, TaskSize, task_sizes
from multitask.sampling.rows import TaskRows


def _config(tiny_tasks: dict[str, Any], *phases: dict[str, Any], **changes: Any) -> RunConfig:
    return parse_config(tiny_tasks | {"combination": {"name": "sum"}, "phases": list(phases)} | changes, "test")


def test_batch_sizes_of_paper_b(tiny_tasks: dict[str, Any]) -> None:
    """Its section 5.3: Quora in batches of 64; SST, Quora and STS have 2136, 2211 and 2014 batches."""
    config = _config(tiny_tasks, {"sampling": {"name": "scaled_batch_sizes", "largest": 64}})
    sizes = task_sizes(config, 0, {"sst": 8544, "quora": 141498, "sts": 6041})
    assert {t: (s.batch_size, s.batches) for t, s in sizes.items()} == {
        "sst": (4, 2136),
        "quora": (64, 2211),
        "sts": (3, 2014),
    }
    assert Schedule(config, [sizes]).steps == 2211


def test_batch_sizes_of_paper_c(tiny_tasks: dict[str, Any]) -> None:
    """Its section 4.3: 500 batches of every task, each of N / 500 rows."""
    config = _config(tiny_tasks, {"sampling": {"name": "scaled_batch_sizes", "batches": 500}})
    sizes = task_sizes(config, 0, {"sst": 8544, "quora": 283010, "sts": 6040})
    assert [size.batch_size for size in sizes.values()] == [17, 567, 12]
    assert [size.batches for size in sizes.values()] == [503, 500, 504]
    few = task_sizes(config, 0, {"sst": 100, "quora": 283010, "sts": 6040})["sst"]
    assert (few.batch_size, few.batches) == (1, 100)


def test_rows_that_are_compared_are_at_least_two(tiny_tasks: dict[str, Any]) -> None:
    columns = {"text": "sentence1", "text_pair": "sentence2"}
    texts = {"kind": {"name": "contrastive"}, "columns": columns, "files": {"train": "a"}}
    tasks = tiny_tasks["tasks"] | {"texts": texts}
    config = _config(tiny_tasks, {"sampling": {"name": "scaled_batch_sizes", "batches": 500}}, tasks=tasks)
    sizes = task_sizes(config, 0, {"sst": 100, "quora": 283010, "sts": 6040, "texts": 101})
    assert (sizes["sst"], sizes["texts"]) == (TaskSize(100, 1, 100), TaskSize(101, 2, 50))


def test_batch_sizes_differ_by_phase(tiny_tasks: dict[str, Any]) -> None:
    even = {"sampling": {"name": "scaled_batch_sizes", "batches": 5}}
    config = _config(tiny_tasks, {"tasks": ["quora"]}, even)
    first, second = (task_sizes(config, phase, {"sst": 60, "quora": 60, "sts": 50}) for phase in (0, 1))
    assert first == {"quora": TaskSize(60, 6, 10)}
    assert second["sts"] == TaskSize(50, 10, 5)


@pytest.mark.parametrize("seed", range(5))
def test_no_other_batch_size_comes_nearer_to_the_number_of_batches(tiny_tasks: dict[str, Any], seed: int) -> None:
    generator = np.random.default_rng(seed)
    rows = dict(zip(("sst", "quora", "sts"), generator.integers(1, 3000, 3).tolist(), strict=True))
    most, key, given = max(rows.values()), ("batches", "largest")[seed % 2], int(generator.integers(1, 100))
    config = _config(tiny_tasks, {"sampling": {"name": "scaled_batch_sizes", key: given}})
    wanted = given if key == "batches" else -(-most // given)
    for task, size in task_sizes(config, 0, rows).items():
        assert size.batches == -(-rows[task] // size.batch_size)
        nearest = min(abs(-(-rows[task] // other) - wanted) for other in range(1, rows[task] + 1))
        assert abs(size.batches - wanted) == nearest


@pytest.mark.parametrize(("rows", "batches"), [(1000, 16), (100, 2), (65, 2), (64, 1)])
def test_largest_set_has_the_batch_size_it_was_given(tiny_tasks: dict[str, Any], rows: int, batches: int) -> None:
    config = _config(tiny_tasks, {"sampling": {"name": "scaled_batch_sizes", "largest": 64}})
    sizes = task_sizes(config, 0, {"sst": rows // 4, "quora": rows, "sts": 1})
    assert sizes["quora"] == TaskSize(rows, 64, batches)
    assert sizes["sst"].batch_size == pytest.approx(16, abs=1)
    assert sizes["sts"] == TaskSize(1, 1, 1)


def test_proportions_are_those_of_the_rows_that_a_pass_takes(tiny_tasks: dict[str, Any]) -> None:
    tiny_tasks["tasks"]["sst"]["train_rows"] = 40
    tiny_tasks["tasks"]["quora"]["rows_per_pass"] = 80
    config = _config(tiny_tasks, {"sampling": {"name": "scaled_batch_sizes", "batches": 10}})
    sizes = task_sizes(config, 0, {"sst": 1000, "quora": 2000, "sts": 20})
    assert sizes == {"sst": TaskSize(40, 4, 10), "quora": TaskSize(2000, 8, 10), "sts": TaskSize(20, 2, 10)}


def test_more_rows_to_use_than_there_are_is_all_of_them(tiny_tasks: dict[str, Any]) -> None:
    tiny_tasks["tasks"]["sst"]["train_rows"] = 1000
    sizes = task_sizes(_config(tiny_tasks, {}), 0, {"sst": 13, "quora": 6, "sts": 7})
    assert sizes == {"sst": TaskSize(13, 6, 3), "quora": TaskSize(6, 6, 1), "sts": TaskSize(7, 6, 2)}


def test_used_rows_are_the_same_ones_in_every_pass_and_phase(tiny_tasks: dict[str, Any]) -> None:
    tiny_tasks["tasks"]["sst"]["train_rows"] = 20
    config = _config(tiny_tasks, {}, {})
    lengths = np.random.default_rng(0).integers(4, 30, 50)
    passes = []
    for phase in (0, 1):
        size = task_sizes(config, phase, {"sst": 50, "quora": 9, "sts": 9})["sst"]
        assert size == TaskSize(20, 6, 4)
        rows = TaskRows(config, "sst", phase, lengths, size)
        passes += [np.concatenate([rows.rows((4 * p + n,)) for n in range(4)]) for p in range(2)]
    assert len(set(passes[0].tolist())) == 20
    assert all(set(p.tolist()) == set(passes[0].tolist()) for p in passes)
    assert not np.array_equal(passes[0], passes[1])
    assert passes[0].max() >= 20
    other = _config(tiny_tasks, {}, {}, seed=77)
    rows = TaskRows(other, "sst", 0, lengths, TaskSize(20, 6, 4))
    assert set(np.concatenate([rows.rows((n,)) for n in range(4)]).tolist()) != set(passes[0].tolist())
