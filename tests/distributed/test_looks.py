"""Ranks whose host looks at several steps at once: the same bits, and no rank waits for its device in between."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.builders import tiny_config
from tests.distributed.ranks import fork_ranks, run_ranks


def _tree(folder: Path, bert: Path, stage: int, every: int, method: str = "sum") -> dict[str, Any]:
    return tiny_config(
        folder,
        encoder={"name": str(bert), "dropout": 0.1},
        zero={"stage": stage},
        combination={"name": method},
        training={"clip_norm": 1.0, "check_every": every},
    )


def test_later_looks_change_no_bit_on_two_ranks(folder: Path, tiny_bert: Path) -> None:
    cases = [(1, "sum"), (3, "size_weighted")]
    jobs = [_tree(folder, tiny_bert, stage, every, method) for stage, method in cases for every in (1, 5)]
    found = run_ranks(2, jobs, folder / "looks", 7)
    for each, late in zip(found[::2], found[1::2], strict=True):
        assert all(np.array_equal(late[name], value) for name, value in each.items())


def be_rank(place: str) -> None:
    """Watch steps of one rank and write what would wait; ends the process."""
    from multitask.trainer.record import TrainRecord
    from tests.unit.step.test_waits import watched_run

    folder, tree = Path(place), json.loads((Path(place) / "tree.json").read_text())
    with pytest.MonkeyPatch.context() as patch:
        waits, run = watched_run(tree, patch)
        record = TrainRecord()
        works = [run.source.share(run.schedule.round(step)) for step in range(1, 4)]
        with waits.watching():
            for work in works:
                run.looks.run(work, 1e-3, 0, run.progress, record)
            between = waits.reads
            run.looks.look(run.progress, record)
    told = {"found": waits.found, "between": between, "after": waits.reads}
    (folder / f"{run.session.rank}.json").write_text(json.dumps(told))
    sys.stdout.flush()
    os._exit(0)


def test_two_ranks_wait_once_for_three_steps(folder: Path, tiny_bert: Path) -> None:
    place = folder / "waits"
    place.mkdir()
    (place / "tree.json").write_text(json.dumps(_tree(folder, tiny_bert, 1, 5)))
    for code, output in fork_ranks(2, be_rank, (str(place),), place):
        assert code == 0, output[-6000:]
    told = [json.loads((place / f"{rank}.json").read_text()) for rank in range(2)]
    assert told == [{"found": [], "between": 0, "after": 1}] * 2
