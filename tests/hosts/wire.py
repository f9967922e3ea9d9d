"""`python wire.py HOST MS`, in the switch's namespace: hold every frame from and to a host for MS milliseconds, until SIGTERM.

The kernel's own delay (netem) is a module that is often missing. The host's port leaves the bridge, a pair `d`, `p` takes its
place, and frames are carried between them.
"""

import ctypes
import heapq
import itertools
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress

_ALL_PROTOCOLS = socket.htons(3)
_DIES_WITH_PARENT = 1


class Wire:
    """The port of a host and what stands for it at the bridge; raw sockets on both."""

    def __init__(self, host: str, seconds: float) -> None:
        self._seconds, self._numbers = seconds, itertools.count()
        self._port, self._inner, self._outer = f"h{host}", f"d{host}", f"p{host}"
        _ip(f"link add {self._inner} type veth peer name {self._outer}")
        _ip(f"link set {self._port} nomaster promisc on")
        _ip(f"link set {self._inner} up promisc on")
        _ip(f"link set {self._outer} master br0 up")
        for device in (self._port, self._inner, self._outer):
            # A frame must not be longer than a cable takes.
            subprocess.run(["ethtool", "-K", device, *"tx off gso off tso off gro off".split()], capture_output=True)
        one, other = _socket(self._port), _socket(self._inner)
        self._across = {one: other, other: one}
        self._underway: list[tuple[float, int, socket.socket, bytes]] = []

    def carry(self) -> None:
        """Carry frames for ever."""
        while True:
            pause = max(0.0, self._underway[0][0] - time.monotonic()) if self._underway else None
            for readable in select.select(list(self._across), [], [], pause)[0]:
                self._take(readable)
            while self._underway and self._underway[0][0] <= time.monotonic():
                _, _, target, frame = heapq.heappop(self._underway)
                with suppress(OSError):
                    target.send(frame)

    def _take(self, readable: socket.socket) -> None:
        with suppress(OSError):
            while True:
                frame, address = readable.recvfrom(65535)
                if address[2] != socket.PACKET_OUTGOING:
                    due = time.monotonic() + self._seconds
                    heapq.heappush(self._underway, (due, next(self._numbers), self._across[readable], frame))

    def remove(self) -> None:
        """Put the port back on the bridge."""
        with suppress(subprocess.CalledProcessError):
            _ip(f"link del {self._inner}")
            _ip(f"link set {self._port} master br0")


def _ip(arguments: str) -> None:
    subprocess.run(["ip", *arguments.split()], check=True)


def _socket(device: str) -> socket.socket:
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, _ALL_PROTOCOLS)
    made.bind((device, 0))
    made.setblocking(False)
    return made


def main() -> None:
    """Be a wire, until the end or that of the process that started it."""
    ctypes.CDLL(None).prctl(_DIES_WITH_PARENT, signal.SIGTERM)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    wire = Wire(sys.argv[1], float(sys.argv[2]) / 1000)
    try:
        print("carrying", flush=True)
        wire.carry()
    finally:
        wire.remove()


main()
