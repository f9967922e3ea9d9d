"""The lab itself: hosts are apart, faults are what they are called, nothing is left. No Ray."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts.lab import Lab
from tests.hosts.network import command
from tests.integration.commands import ROOT

# Says what it has got, byte by byte, and when the other end has closed.
_LISTEN = """
import socket, sys
server = socket.create_server(("", 7000))
print("listening", flush=True)
connection, _ = server.accept()
connection.settimeout(float(sys.argv[1]))
try:
    while got := connection.recv(100000):
        print("got", len(got), flush=True)
    print("closed", flush=True)
except TimeoutError:
    print("silent", flush=True)
"""
_CONNECT = """
import socket, time
connection = socket.create_connection(("host2", 7000), timeout=5)
connection.sendall(b"x")
time.sleep(1000)
"""
_ASK = """
import socket, sys
connection = socket.create_connection((sys.argv[1], 7000), timeout=float(sys.argv[2]))
assert connection.recv(1) == b"!"
"""
_ROUND_TRIP = """
import socket, time
with socket.create_connection(("host2", 7000)) as c:
    c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    c.recv(1); best = 9.0
    for _ in range(5):
        start = time.monotonic(); c.sendall(b"x"); c.recv(1); best = min(best, time.monotonic() - start)
    print(best)
"""
_ECHO = """
import socket
server = socket.create_server(("", 7000))
print("listening", flush=True)
while True:
    connection, _ = server.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        connection.sendall(b"!")
        while got := connection.recv(65536): connection.sendall(got)
    except OSError:
        continue
"""
_SEND = """
import socket, time
with socket.create_connection(("host2", 7000)) as c:
    start = time.monotonic(); c.sendall(b"x" * 1000000); c.shutdown(socket.SHUT_WR)
    c.recv(1); print(time.monotonic() - start)
"""
_SINK = """
import socket
server = socket.create_server(("", 7000))
print("listening", flush=True)
connection, _ = server.accept()
while connection.recv(65536): pass
connection.sendall(b"!")
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(hosts=2) as lab:
        yield lab


def _python(lab: Lab, host: int, code: str, *arguments: str) -> "subprocess.Popen[str]":
    return lab.host(host).popen(sys.executable, "-c", code, *arguments)


def _first_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.fixture
def echo(lab: Lab) -> Iterator[None]:
    server = _python(lab, 2, _ECHO)
    assert _first_line(server) == "listening"
    yield
    os.killpg(server.pid, 9)
    server.communicate()


def _output(lab: Lab, code: str, *arguments: str) -> str:
    done = lab.host(1).run(sys.executable, "-c", code, *arguments, timeout=60)
    assert done.returncode == 0, done.stdout
    return done.stdout.strip()


def test_each_host_has_its_own_name_address_and_processes(lab: Lab) -> None:
    looks = "hostname; hostname -i; ls -d /proc/[0-9]* | wc -l; cat /proc/1/comm; ls /dev/shm"
    for host in lab.hosts:
        name, address, processes, first, *memory = host.run("sh", "-c", looks).stdout.split()
        assert (name, address, memory) == (host.name, host.address, [])
        assert int(processes) <= 5
        assert first.startswith("python")


def test_the_network_joins_the_hosts_and_nothing_else(lab: Lab, echo: None) -> None:
    _output(lab, _ASK, "host2", "5")
    outside = subprocess.run([sys.executable, "-c", _ASK, "10.77.0.2", "0.5"], capture_output=True, text=True)
    assert outside.returncode != 0


def test_shared_files_are_seen_by_all_and_unshared_ones_by_one(lab: Lab) -> None:
    for folder in (lab.shared, lab.unshared, Path("/tmp/ray")):
        lab.host(1).run("touch", str(folder / "mark"))
    seen = {folder: (folder / "mark").exists() for folder in (lab.shared, lab.unshared, Path("/tmp/ray"))}
    assert list(seen.values()) == [True, False, False]
    for folder, code in ((lab.shared, 0), (lab.unshared, 1), (Path("/tmp/ray"), 1)):
        assert lab.host(2).run("test", "-e", str(folder / "mark")).returncode == code
    assert (lab.host(1).folder / "unshared/mark").exists()


def test_a_host_without_power_says_nothing_and_comes_back_with_its_disk(lab: Lab) -> None:
    listener = _python(lab, 2, _LISTEN, "2")
    assert _first_line(listener) == "listening"
    sender = _python(lab, 1, _CONNECT)
    assert _first_line(listener) == "got 1"
    lab.host(1).run("touch", str(lab.unshared / "kept"))
    lab.host(1).kill()
    sender.communicate(timeout=20)
    assert not lab.host(1).is_up
    # The other end is not even told that the connection is over.
    assert _first_line(listener) == "silent"
    listener.communicate(timeout=20)
    lab.host(1).start()
    assert lab.host(1).run("test", "-e", str(lab.unshared / "kept")).returncode == 0
    assert lab.host(1).processes() == {}


def test_a_cut_cable_carries_nothing_until_it_is_mended(lab: Lab, echo: None) -> None:
    lab.host(2).cut()
    assert lab.host(1).run(sys.executable, "-c", _ASK, "host2", "1").returncode != 0
    lab.host(2).mend()
    _output(lab, _ASK, "host2", "20")


@pytest.mark.skipif(not shutil.which("nft"), reason="losing packets needs nft (`make hosts`)")
def test_packets_are_lost(lab: Lab, echo: None) -> None:
    lab.host(2).loss(100)
    assert lab.host(1).run(sys.executable, "-c", _ASK, "host2", "1").returncode != 0
    lab.host(2).loss(20)
    assert "199 drop" in command("ip", "netns", "exec", f"{lab.name}-2", "nft", "list", "ruleset")
    lab.host(2).loss(0)
    _output(lab, _ASK, "host2", "20")


def test_a_slow_cable_takes_its_time(lab: Lab) -> None:
    sink = _python(lab, 2, _SINK)
    assert _first_line(sink) == "listening"
    lab.host(2).rate("8mbit")
    # A megabyte less the burst and what is on its way: at eight Mbit/s not below half a second.
    assert float(_output(lab, _SEND)) > 0.5
    lab.host(2).rate(None)
    sink.communicate(timeout=20)


@pytest.mark.skipif(not shutil.which("ethtool"), reason="delays need ethtool (`make hosts`)")
def test_packets_are_held(lab: Lab, echo: None) -> None:
    lab.host(2).delay(100)
    assert float(_output(lab, _ROUND_TRIP)) > 0.2
    lab.host(2).delay(0)
    assert float(_output(lab, _ROUND_TRIP)) < 0.2


def test_a_command_that_goes_on_is_ended(lab: Lab) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        lab.host(1).run("sleep", "1000", timeout=0.5)
    assert lab.host(1).processes() == {}


def test_a_shared_disk_can_be_full() -> None:
    with Lab(hosts=1, shared_size="1m") as lab:
        done = lab.host(1).run("dd", "if=/dev/zero", f"of={lab.shared}/much", "bs=1M", "count=2")
        assert "No space left" in done.stdout
        folder = lab.folder
    assert not folder.exists()


_HOLD = """
import sys, time
from tests.hosts.lab import Lab
with Lab(hosts=1, shared_size="1m") as lab:
    process = lab.host(1).popen("sleep", "1000")
    lab.host(1).delay(5)
    print(lab.name, *lab.processes(), flush=True)
    time.sleep(1000)
"""


@pytest.mark.skipif(not shutil.which("ethtool"), reason="delays need ethtool (`make hosts`)")
def test_nothing_of_a_killed_lab_stays() -> None:
    owner = subprocess.Popen([sys.executable, "-c", _HOLD], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    name, *pids = _first_line(owner).split()
    assert pids
    owner.kill()
    owner.communicate()
    ends = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < ends:
        time.sleep(0.05)
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []
    assert f"{name}-1" in command("ip", "netns", "list")
    # The next lab removes what is no process; one beside it stays.
    with Lab(hosts=1) as first, Lab(hosts=1) as second:
        assert name not in command("ip", "netns", "list")
        assert not (first.folder.parent / name).exists()
        assert first.host(1).run("hostname").stdout == second.host(1).run("hostname").stdout == "host1\n"
    assert first.name not in command("ip", "netns", "list")
