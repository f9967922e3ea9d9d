"""How a sweep stands, seen from outside."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from cluster.storage.storage import Storage
from cluster.sweeps.records import Options, Sweep, Trial
from cluster.sweeps.status import current_sweep, describe_status, is_alive
from cluster.sweeps.store import SweepStore
from tests.unit.sweeps.recipes import recipe, report

SST = "dev/sst/accuracy"


@pytest.fixture
def store(tmp_path: Path) -> SweepStore:
    """A sweep with a trial in every state."""
    made = SweepStore(Storage(str(tmp_path / "s")))
    made.write_plan(Sweep("s", made.location, "tiny", recipe().to_dict(), {"name": "default"}, Options(8, repeats=2)))
    known = (report(1, 0.5), report(2, 0.4))
    for trial in (
        Trial(-1, 0, "baseline", "s-base-sst", {"task": "sst"}, "finished", reports=(report(1, 0.99),)),
        Trial(0, 0, "recipe", "s-000", {}, "finished", reports=known),
        Trial(1, 0, "sample", "s-001", {}, "running", reports=(report(1, 0.6),)),
        Trial(2, 0, "sample", "s-002", {}, "stopped", "asha", reports=known[1:]),
        Trial(3, 0, "sample", "s-003", {}, "failed", "broken", reports=(report(1, float("nan")),)),
        Trial(4, 0, "sample", "s-004", {}, "waiting"),
    ):
        made.write_trial(trial)
    return made


def _state(**changes: Any) -> dict[str, Any]:
    own = {"status": "running", "reason": None, "elapsed": 100.0, "heartbeat": time.time()}
    return own | {"pid": os.getpid(), "host": socket.gethostname()} | changes


def _statuses(sweep: Sweep) -> dict[str, str]:
    return {trial.run.removeprefix("s-"): trial.status for trial in sweep.trials}


def test_sweep_that_runs_is_as_its_files_say(store: SweepStore) -> None:
    store.write_state(_state(heartbeat=time.time() - 20))
    sweep = current_sweep(store)
    assert sweep.status == "running"
    assert _statuses(sweep)["001"] == "running"
    # The time since the last heartbeat counts.
    assert 120 <= sweep.elapsed < 180


@pytest.mark.parametrize("end", ["dead", "silent", "never began"])
def test_trials_of_a_dead_driver_wait(store: SweepStore, end: str) -> None:
    if end == "dead":
        process = subprocess.Popen([sys.executable, "-c", ""])
        process.wait()
        store.write_state(_state(pid=process.pid))
    elif end == "silent":
        store.write_state(_state(heartbeat=time.time() - 61))
    sweep = current_sweep(store)
    assert sweep.status == "stopped"
    expected = {"base-sst": "finished", "000": "finished", "001": "waiting", "002": "stopped", "003": "failed"}
    assert _statuses(sweep) == expected | {"004": "waiting"}
    assert sweep.trials[2].reason == "interrupted"
    # Looking changes nothing.
    assert _statuses(store.read())["001"] == "running"


@pytest.mark.parametrize("status", ["finished", "stopped"])
def test_sweep_that_has_ended_stays_as_it_is(store: SweepStore, status: str) -> None:
    store.write_state(_state(status=status, heartbeat=0.0))
    assert current_sweep(store).status == status
    assert current_sweep(store).elapsed == 100.0


def test_description_counts_and_names_the_best_of_the_race(store: SweepStore) -> None:
    store.write_state(_state(status="stopped", reason="the budget of 2 h is spent"))
    found = describe_status(store)
    assert found["counts"] == {"finished": 2, "running": 1, "stopped": 1, "failed": 1, "waiting": 1}
    # A task alone is no configuration: its own score does not compete.
    assert (found["best"], found["best_score"]) == ("s-001", 0.6)
    assert found["status"] == "stopped"
    assert found["reason"] == "the budget of 2 h is spent"
    assert found["search"] == "random/fifo"
    assert [trial["run"] for trial in found["trials"]][:2] == ["s-base-sst", "s-000"]


def test_best_is_a_configuration_with_all_its_seeds(tmp_path: Path) -> None:
    store = SweepStore(Storage(str(tmp_path)))
    curves = {(0, 0): (0.5,), (0, 1): (0.6,), (1, 0): (0.3,), (1, 1): (0.7,), (2, 0): (0.9,), (2, 1): ()}
    trials = [
        Trial(n, seed, "sample", f"s-{n:03d}-r{seed}", {}, reports=tuple(report(1, score) for score in own))
        for (n, seed), own in curves.items()
    ]
    made = Sweep("s", "", "tiny", recipe().to_dict(), {"name": "default"}, Options(3, repeats=2))
    store.write_plan(made)
    for trial in trials:
        store.write_trial(trial)
    found = describe_status(store)
    assert (found["best"], found["best_score"]) == ("s-000-r0", pytest.approx(0.55))


def test_progress_is_of_the_configurations(store: SweepStore) -> None:
    # The recipe, one that was stopped and one that failed, of eight with two seeds.
    assert describe_status(store)["progress"] == "3/16"


def test_sweep_without_a_score_has_no_best(tmp_path: Path) -> None:
    store = SweepStore(Storage(str(tmp_path)))
    store.write_plan(Sweep("s", "", "tiny", recipe().to_dict(), {"name": "default"}, Options(8)))
    found = describe_status(store)
    assert (found["best"], found["best_score"], found["progress"], found["counts"]) == (None, None, "0/8", {})


@pytest.fixture(scope="module")
def dead() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_driver_on_another_host_is_judged_by_its_heartbeat_alone(dead: int) -> None:
    assert is_alive(_state())
    assert not is_alive(_state(pid=dead))
    assert is_alive(_state(pid=dead, host="elsewhere"))
    # Somebody else's process, which cannot be asked unless one is root.
    assert is_alive(_state(pid=1))


def test_driver_that_has_ended_unnoticed_by_its_parent_is_dead() -> None:
    process = subprocess.Popen(["true"])
    try:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not is_alive(_state(pid=process.pid))
    finally:
        process.wait()
