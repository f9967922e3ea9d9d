"""A folder has one owner: who comes second is refused or waits, and who was thought dead writes nothing more."""

import json
import multiprocessing
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cluster.storage import lease as lease_module
from cluster.storage.fence import FencedStorage, LeaseLostError
from cluster.storage.lease import Lease, LeaseHeldError, clear_folder
from cluster.storage.lease_record import Launch
from cluster.storage.process_identity import ProcessIdentity
from cluster.storage.run_folder import RunFolder
from cluster.storage.storage import Storage
from multitask.errors import UserError

LOCATIONS = ["{}", "memory://{}"]
ELSEWHERE = ProcessIdentity("elsewhere", "another boot", 7, "1")


@pytest.fixture(params=LOCATIONS)
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return Storage(request.param.format(tmp_path / "run"))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that whoever waits has slept, by which its clock goes."""
    slept = [0.0]
    monkeypatch.setattr(lease_module.time, "sleep", lambda seconds: slept.__setitem__(0, slept[0] + seconds))
    monkeypatch.setattr(lease_module.time, "monotonic", lambda: slept[0])
    return slept


def _leave(storage: Storage, **changes: Any) -> None:
    """Write the newest lease anew, as another process would."""
    name = storage.files("lease")[-1]
    storage.write(f"lease/{name}", json.dumps(json.loads(storage.read(f"lease/{name}")) | changes).encode())


def _lost(storage: Storage) -> Lease:
    """A lease as an owner on another host leaves it that is killed: nobody here can tell."""
    lost = Lease.acquire(storage, Launch("theirs", ELSEWHERE))
    lost._ended.set()
    _leave(storage, process=ELSEWHERE.__dict__)
    return lost


def test_second_owner_is_told_who_holds_the_folder_since_when(storage: Storage) -> None:
    with Lease.acquire(storage, Launch.here()) as held:
        told = rf"is held by process {os.getpid()} on .+ since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d; end that process"
        with pytest.raises(LeaseHeldError, match=told):
            Lease.acquire(storage, Launch.here())
        held.storage.write("file", b"mine")
    with Lease.acquire(storage, Launch.here()) as second:
        assert second.fence.number == 2
    assert storage.files("lease") == ["00000002.json"]


def test_workers_of_the_same_launch_take_over_at_once_and_fence_the_earlier_ones_off(storage: Storage) -> None:
    launch = Launch.here()
    earlier = Lease.acquire(storage, launch)
    earlier.storage.write("result.json", b"earlier")
    with Lease.acquire(storage, Launch.from_dict(launch.to_dict())) as later:
        later.storage.write("result.json", b"later")
        for write in (
            lambda: earlier.storage.write("result.json", b"late"),
            lambda: earlier.storage.below("checkpoints").write("step", b"late"),
            lambda: earlier.storage.delete_file("result.json"),
            lambda: earlier.storage.delete_folder(""),
        ):
            earlier.fence.forget()
            with pytest.raises(LeaseLostError, match=rf"is held by process {os.getpid()} .*writes nothing more"):
                write()
        earlier.release()
        later.fence.forget()
        later.storage.write("more", b"later")
    assert storage.read("result.json") == b"later"


def test_owner_on_this_host_that_was_killed_is_taken_over_at_once(tmp_path: Path, clock: list[float]) -> None:
    code = (
        "import os, sys\n"
        "from cluster.storage.lease import Lease\n"
        "from cluster.storage.lease_record import Launch\n"
        "from cluster.storage.storage import Storage\n"
        f"Lease.acquire(Storage({str(tmp_path)!r}), Launch.here())\n"
        "os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    Lease.acquire(Storage(str(tmp_path)), Launch.here()).release()
    assert clock == [0.0]


def test_number_of_a_process_that_was_given_away_again_is_another_process() -> None:
    me = ProcessIdentity.of()
    assert me.is_running
    assert not me.is_gone
    assert replace(me, started="1").is_gone
    assert not replace(me, host="elsewhere", started="1").is_gone
    assert not replace(me, boot="another").is_running


def test_owner_elsewhere_that_is_silent_is_taken_over_when_its_lease_has_run_out(
    storage: Storage, clock: list[float]
) -> None:
    lost = _lost(storage)
    Lease.acquire(storage, Launch.here()).release()
    assert lease_module.LEASE_S <= clock[0] < lease_module.LEASE_S + 5
    with pytest.raises(LeaseLostError):
        lost.storage.write("result.json", b"late")
    assert not storage.exists("result.json")


def test_owner_elsewhere_that_renews_is_left_its_folder(
    storage: Storage, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    _lost(storage)

    def sleep(seconds: float) -> None:
        clock[0] += seconds
        _leave(storage, renewals=int(clock[0] // lease_module.RENEW_S))

    monkeypatch.setattr(lease_module.time, "sleep", sleep)
    with pytest.raises(LeaseHeldError, match="held by process 7 on elsewhere"):
        Lease.acquire(storage, Launch.here())
    assert clock[0] < lease_module.LEASE_S


def test_time_in_which_the_storage_was_away_is_not_the_owners_silence(
    storage: Storage, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    _lost(storage)
    read, away = lease_module.read_newest, iter([0.0, 100.0])

    def slow(asked: Storage) -> tuple[int, bytes]:
        clock[0] += next(away, 0.0)
        return read(asked)

    def sleep(seconds: float) -> None:
        clock[0] += seconds
        _leave(storage, renewals=int(clock[0] > 105) + int(clock[0] > 115))

    monkeypatch.setattr(lease_module, "read_newest", slow)
    monkeypatch.setattr(lease_module.time, "sleep", sleep)
    with pytest.raises(LeaseHeldError, match="held by process 7 on elsewhere"):
        Lease.acquire(storage, Launch.here())


def test_owner_renews_and_a_damaged_lease_is_waited_for(
    storage: Storage, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "RENEW_S", 0.01)
    renewed, lease = threading.Event(), Lease.acquire(storage, Launch.here())
    write = lease._storage.write
    monkeypatch.setattr(lease._storage, "write", lambda *given: (write(*given), renewed.set()))
    assert renewed.wait(20)
    lease._ended.set()
    lease._thread.join()
    assert json.loads(storage.read("lease/00000001.json"))["renewals"] > 0
    storage.write("lease/00000001.json", b'{"attempt": "1-')
    Lease.acquire(storage, Launch.here()).release()
    assert clock[0] >= lease_module.LEASE_S


def _race(location: str, barrier: Any, results: Any) -> None:
    storage = Storage(location)
    barrier.wait()
    results.put(storage.create("lease/00000001.json", str(os.getpid()).encode()))


def test_one_of_many_processes_creates_a_file(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    for attempt in range(5):
        barrier, results = context.Barrier(4), context.Queue()
        arguments = (str(tmp_path / str(attempt)), barrier, results)
        processes = [context.Process(target=_race, args=arguments) for _ in range(4)]
        for process in processes:
            process.start()
        assert sorted(results.get() for _ in processes) == [False, False, False, True]
        for process in processes:
            process.join()
        assert Storage(str(tmp_path / str(attempt))).files("lease") == ["00000001.json"]


def test_file_is_created_once_on_any_storage(storage: Storage) -> None:
    assert storage.create("a/file", b"first")
    assert not storage.create("a/file", b"second")
    assert storage.read("a/file") == b"first"


def test_file_is_created_once_where_a_disk_has_no_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    test_file_is_created_once_on_any_storage(Storage(str(tmp_path)))
    assert Storage(str(tmp_path)).files("a") == ["file"]


def test_folder_that_is_cleared_keeps_its_lease_and_folders_without_one_work_as_before(storage: Storage) -> None:
    storage.write("config.yaml", b"old")
    storage.write("checkpoints/step/file", b"old")
    RunFolder(storage).write_result({"step": 0})
    assert RunFolder(storage).result() == {"step": 0}
    with Lease.acquire(storage, Launch.here()) as lease:
        RunFolder(lease.storage).write_result({"step": 1})
        told = RunFolder(storage).result()
        assert told == {"step": 1, "attempt": lease.fence.attempt}
        clear_folder(lease.storage)
        assert (storage.files(), storage.folders()) == ([], ["lease"])
        assert isinstance(lease.storage.below("x"), FencedStorage)


def test_folder_that_was_removed_has_no_owner(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path / "run"))
    lease = Lease.acquire(storage, Launch.here())
    storage.delete_folder("")
    with pytest.raises(LeaseLostError, match="has lost its lease/ folder"):
        lease.storage.write("result.json", b"late")
    lease.release()
    assert not storage.exists("")


def test_storage_that_cannot_be_written_is_told_by_its_key(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UserError, match=r"cluster.storage: cannot write to .*/file/run"):
        Lease.acquire(Storage(str(tmp_path / "file" / "run")), Launch.here())
