"""What one rank meets ends all of them, and nobody's long work is taken for death."""

import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from cluster.training import agreement
from cluster.training.agreement import Agreement
from cluster.training.session import LocalSession
from cluster.training.stop_request import StopRequest
from multitask.errors import UserError
from tests.distributed.ranks import fork_ranks

HOST = socket.gethostname()


def _told(act: Callable[[Agreement, int], object], beat_s: float, timeout_s: float) -> None:
    """Print what `act` gives or raises on this rank, and for how long it was waited."""
    agreement.BEAT_S = beat_s
    session = LocalSession("cpu", timeout_s=timeout_s)
    try:
        print(act(session.agreement, session.rank))
    except Exception as error:
        print(f"{type(error).__name__}: {error}")
    sys.stdout.flush()
    os._exit(0)


def _run(folder: Path, act: Callable[[Agreement, int], object], beat_s: float = 5, timeout_s: float = 600) -> list[str]:
    """The last line of each of three ranks, all of which must end."""
    told = fork_ranks(3, _told, (act, beat_s, timeout_s), folder, timeout_s=120)
    assert [code for code, _ in told] == [0, 0, 0], told
    return [output.splitlines()[-1] for _, output in told]


def _user_error_on_one(ranks: Agreement, rank: int) -> object:
    return ranks.on_every_rank(lambda: _fail(UserError("data: row 3 is bad")) if rank == 1 else rank)


def _user_error_on_all(ranks: Agreement, rank: int) -> object:
    return ranks.on_every_rank(lambda: _fail(UserError("data: row 3 is bad")))


def _other_error_on_one(ranks: Agreement, rank: int) -> object:
    return ranks.on_every_rank(lambda: _fail(OSError("the disk is gone")) if rank == 2 else rank)


def _error_of_rank_zero(ranks: Agreement, rank: int) -> object:
    return ranks.from_rank_zero(lambda: _fail(UserError("name: taken")))


def _fail(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    ("act", "told"),
    [
        (_user_error_on_one, [f"UserError: rank 1 on {HOST}: data: row 3 is bad"] * 3),
        (_user_error_on_all, ["UserError: data: row 3 is bad"] * 3),
        (_error_of_rank_zero, ["UserError: name: taken"] * 3),
        (
            _other_error_on_one,
            [f"OtherRankError: rank 2 on {HOST}: OSError: the disk is gone"] * 2 + ["OSError: the disk is gone"],
        ),
    ],
)
def test_what_one_rank_meets_is_raised_on_all(
    tmp_path: Path, act: Callable[[Agreement, int], object], told: list[str]
) -> None:
    assert _run(tmp_path, act) == told


def _one_after_the_other(ranks: Agreement, rank: int) -> object:
    one = ranks.on_every_rank(lambda: rank)
    return one, ranks.from_rank_zero(lambda: {"of": rank}), ranks.gather(10 * rank)


def test_results_come_back(tmp_path: Path) -> None:
    assert _run(tmp_path, _one_after_the_other) == [str((rank, {"of": 0}, [0, 10, 20])) for rank in range(3)]


def _long_work(ranks: Agreement, rank: int) -> object:
    return ranks.from_rank_zero(lambda: time.sleep(9) or "done")


def test_long_work_of_rank_zero_is_waited_for(tmp_path: Path) -> None:
    """Nine seconds of work under a time-out of six: whoever works says so."""
    assert _run(tmp_path, _long_work, beat_s=0.3, timeout_s=6) == ["done"] * 3


def _killed(ranks: Agreement, rank: int) -> object:
    def work() -> None:
        if rank == 2:
            print("gone", flush=True)
            os._exit(0)

    return ranks.on_every_rank(work)


def test_rank_that_is_gone_is_noticed(tmp_path: Path) -> None:
    told = _run(tmp_path, _killed, beat_s=0.3, timeout_s=6)
    silent = "OtherRankError: rank 2 on its host: not heard of for 6 s (cluster.collective_timeout)"
    assert told == [silent, silent, "gone"]


def _asked_to_stop(ranks: Agreement, rank: int) -> object:
    """Twenty steps at each rank's own pace; rank 0 is asked in its fifth, rank 1 all the time."""
    steps, count = 0, torch.zeros(1)
    stop = StopRequest(lambda: "preempted" if rank == 1 or (rank == 0 and steps >= 5) else None, ranks)
    while steps < 20 and not (reason := stop.due(steps)):
        time.sleep(0.01 * rank)
        dist.all_reduce(count)
        steps += 1
    return ranks.gather((steps, reason))


def test_all_ranks_stop_after_the_same_step_when_rank_zero_is_asked(tmp_path: Path) -> None:
    assert _run(tmp_path, _asked_to_stop) == [str([(6, "preempted")] * 3)] * 3
