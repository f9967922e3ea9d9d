"""A rank that goes no further is told from one that works, waits or has died."""

import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.launch import stuck_ranks
from cluster.launch.stuck_ranks import ASK_S, SILENT_S, STACK_S, StuckWatch, innermost_frames
from cluster.step.place import Place

TIMEOUT_S = 400.0


class Group:
    """Workers that say where they are, and a clock; answers and stacks are there as soon as they are asked for, or never."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, world: int = 2) -> None:
        self.now, self.places = 0.0, [Place() for _ in range(world)]
        self.silent: set[int] = set()
        self.stacks, self.ended = True, []
        fake = SimpleNamespace(wait=lambda refs, **_: ([ref for ref in refs if ref[1]], []), get=lambda ref: ref[0])
        monkeypatch.setattr(stuck_ranks, "ray", fake)
        self.watch = StuckWatch(
            TIMEOUT_S,
            lambda: self.now,
            lambda worker: (f"read ({worker.metadata.hostname}.py:3)", self.stacks),
            lambda worker: self.ended.append(worker.metadata.hostname),
        )
        workers = [
            SimpleNamespace(
                metadata=SimpleNamespace(hostname=f"host{rank}"),
                execute_async=lambda _, rank=rank: (Place(**vars(self.places[rank])), rank not in self.silent),
            )
            for rank in range(world)
        ]
        self.watch.after_worker_group_training_start(SimpleNamespace(get_workers=lambda: workers))

    def pass_time(self, seconds: float, *moving: int) -> Any:
        """Polls as the controller does; gives the first error that is told."""
        ends = self.now + seconds
        while self.now < ends:
            self.now += ASK_S
            for rank in moving:
                self.places[rank].move()
            statuses = {rank: SimpleNamespace(error=None, running=True) for rank in range(len(self.places))}
            self.watch.after_worker_group_poll_status(SimpleNamespace(worker_statuses=statuses))
            if errors := [status.error for status in statuses.values() if status.error]:
                return errors[0]
        return None


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> Group:
    return Group(monkeypatch)


def test_a_process_that_gives_no_sign_of_life_is_named_with_its_place_and_stack_and_ended(group: Group) -> None:
    group.places[1].move(step=12, part="forward/backward", task="sst")
    assert group.pass_time(10, 0) is None
    group.silent.add(1)
    error = group.pass_time(2 * SILENT_S, 0)
    where = "rank 1 on host1 (step 12, forward/backward of sst)"
    assert str(error) == f"{where}: its process gave no sign of life for 60 s; it is in read (host1.py:3)"
    assert (error.of_cluster, error.step) == (True, 12)
    assert group.ended == ["host1"]
    # The workers that come next are watched anew.
    assert group.pass_time(SILENT_S) is None


def test_a_host_that_does_not_answer_is_not_waited_for(group: Group) -> None:
    group.silent.add(0)
    group.stacks = False
    assert group.pass_time(SILENT_S + STACK_S - 4, 1) is None
    assert str(group.pass_time(20, 1)).endswith("its host does not answer")


def test_where_no_rank_comes_on_the_one_behind_is_named(group: Group) -> None:
    group.places[0].move(step=5, part="communicate")
    group.places[1].move(step=5, part="data")
    assert group.pass_time(0.85 * TIMEOUT_S) is None
    error = group.pass_time(0.1 * TIMEOUT_S)
    assert str(error).startswith(
        "rank 1 on host1 (step 5, data): no rank came on for 360 s (cluster.collective_timeout)"
    )


def test_a_rank_that_works_for_long_while_others_wait_is_left_alone(group: Group) -> None:
    assert group.pass_time(5 * TIMEOUT_S, 0) is None


def test_one_worker_alone_is_waited_for_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Group(monkeypatch, world=1).pass_time(5 * TIMEOUT_S) is None


_STOPS = """
import os, signal
def train_worker(): read_rows()
def read_rows(): exec("print('here', flush=True); os.kill(os.getpid(), signal.SIGSTOP)")
train_worker()
"""


def test_the_stack_of_a_stopped_process_is_read(tmp_path: Path) -> None:
    (tmp_path / "cluster").mkdir()
    (script := tmp_path / "cluster/loop.py").write_text(_STOPS)
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        ends = time.monotonic() + 30
        while not (told := innermost_frames(process.pid)).startswith("<module> (<string>") and time.monotonic() < ends:
            time.sleep(0.1)
        if "ptrace" in told or "ermission" in told:
            pytest.skip(told)
        assert told == "<module> (<string>:1) < read_rows (loop.py:4) < train_worker (loop.py:3) < <module> (loop.py:5)"
    finally:
        process.kill()
        process.communicate()
