"""The death of Ray ends a process within seconds, with one line and nothing left; here a socket stands for Ray."""

import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cluster.launch import life_watch
from cluster.launch.life_watch import LifeWatch, problem_of
from cluster.launch.scratch import remove_scratch
from tests.integration.commands import environment

WATCHED = """
import socket, subprocess, sys, threading, time
from cluster.launch.life_watch import LifeWatch

server = socket.create_server(("127.0.0.1", 0))
address = f"127.0.0.1:{server.getsockname()[1]}"
log = open(sys.argv[1] + "/log", "w")
child = subprocess.Popen(["sleep", "600"], stdout=log, start_new_session=True)
print(child.pid, address, flush=True)

def advice():
    return "start again: the run goes on from step 40"

with LifeWatch({"Ray's head": address}, advice, scratch=sys.argv[1]):
    time.sleep(float(sys.argv[2]))
    if sys.argv[3] == "raises before":
        threading.Timer(1, server.close).start()
        raise RuntimeError("its connection breaks before its socket is closed")
    server.close()
    if sys.argv[3] == "waits":
        threading.Event().wait()
    raise RuntimeError("an error of Ray's")
"""


@pytest.mark.parametrize("main_thread", ["waits", "raises", "raises before"])
def test_death_of_ray_is_one_line_and_leaves_nothing(tmp_path: Path, main_thread: str) -> None:
    scratch = tmp_path / "concord-ray"
    scratch.mkdir()
    command = [sys.executable, "-c", WATCHED, str(scratch), "1.5", main_thread]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=120)
    child, address = done.stdout.split()
    assert done.returncode == 1
    assert done.stderr == (f"concord: Ray's head at {address} has died; start again: the run goes on from step 40\n")
    assert not scratch.exists()
    assert not Path(f"/proc/{child}").exists() or " Z " in Path(f"/proc/{child}/stat").read_text()


def test_process_whose_ray_lives_ends_as_it_would(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert problem_of(address) is None
        with pytest.raises(RuntimeError, match="its own"), LifeWatch({"Ray's head": address}, lambda: ""):
            raise RuntimeError("its own")
    assert problem_of(address) == "refused"


def test_ray_that_answers_now_and_then_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looked at once a second: it is refused twice in three, but never for so long as the patience is."""
    answers, seconds, ended = itertools.cycle(["refused", "refused", None]), itertools.count(), list[str]()
    watch = LifeWatch({"Ray's head": "127.0.0.1:1"}, lambda: "")
    monkeypatch.setattr(life_watch, "problem_of", lambda address: next(answers))
    monkeypatch.setattr(life_watch.time, "monotonic", lambda: next(seconds) / 2)
    monkeypatch.setattr(watch, "_end_process", lambda name, address: ended.append(name))
    looks = iter([False] * 60)
    monkeypatch.setattr(watch._ended, "wait", lambda seconds: next(looks, True))
    watch._watch()
    assert ended == []


def test_scratch_goes_with_the_processes_that_use_it(tmp_path: Path) -> None:
    scratch, other = tmp_path / "concord-ray", tmp_path / "concord-ray-other"
    processes = []
    for folder in (scratch, other):
        folder.mkdir()
        with (folder / "log").open("w") as log:
            processes.append(subprocess.Popen(["sleep", "600"], stdout=log))
    try:
        remove_scratch(str(scratch))
        assert processes[0].wait(10) == -9
        assert processes[1].poll() is None
        assert not scratch.exists()
        assert other.exists()
    finally:
        processes[1].kill()
        processes[1].wait()


def test_sockets_of_a_stopped_process_are_not_taken_for_dead(tmp_path: Path) -> None:
    """A busy machine answers late: the kernel takes the connection, whatever the process does."""
    code = "import socket, time; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); time.sleep(600)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        port = process.stdout.readline().strip()
        os.kill(process.pid, 19)
        time.sleep(0.1)
        assert problem_of(f"127.0.0.1:{port}") is None
    finally:
        process.kill()
        process.communicate()
