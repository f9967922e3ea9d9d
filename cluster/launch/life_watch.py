"""The death of what this process cannot live without, Ray or `torchrun`, ends it within seconds and with one line.

Ray itself waits a minute for its head, and then ends whatever process is connected to it, with lines of its own log. A rank
whose `torchrun` has died waits for the others for ever.
"""

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType

from cluster.launch.scratch import remove_scratch
from multitask.errors import UserError

_INTERVAL_S = 1.0
# Nobody listens there any more. The head of somebody else's cluster may be started again by what keeps it.
_REFUSED_S, _REFUSED_ELSEWHERE_S = 3.0, 12.0
# A host that is gone does not answer at all, and neither does a busy one for a while.
_SILENT_S = 25.0
_SHOW_CURSOR = "\x1b[?25h"


class LifeWatch:
    """Watches, in a `with`, what this process cannot live without.

    `targets`: what must live, to HOST:PORT. `advice` says in a few words how to go on, when one of them has died; without it nothing is
    said. `may_come_back`: something may start it again, and is given time to. `scratch`: the folder of a Ray that this process has
    started, which goes with its processes.
    """

    def __init__(
        self,
        targets: Mapping[str, str],
        advice: Callable[[], str] | None,
        *,
        may_come_back: bool = False,
        scratch: str | None = None,
    ) -> None:
        self._targets, self._advice, self._scratch = targets, advice, scratch
        self._refused_s = _REFUSED_ELSEWHERE_S if may_come_back else _REFUSED_S
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="life-watch", daemon=True)

    def __enter__(self) -> "LifeWatch":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """What the death made of a call is no error of its own: the thread ends the process."""
        if isinstance(error, Exception) and not isinstance(error, UserError) and self._has_died():
            self._thread.join(_SILENT_S)
        self._ended.set()
        self._thread.join()

    def _has_died(self) -> bool:
        """Whether something has, or does so within seconds: its connections break before nobody listens there any more."""
        deadline = time.monotonic() + _REFUSED_S
        while not any(problem_of(address) for address in self._targets.values()):
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.2)
        return True

    def _watch(self) -> None:
        since: dict[str, float] = {}
        while not self._ended.wait(_INTERVAL_S):
            for name, address in self._targets.items():
                problem = problem_of(address)
                if problem is None:
                    since.pop(name, None)
                elif time.monotonic() - since.setdefault(name, time.monotonic()) >= self._patience(problem):
                    self._end_process(name, address)

    def _patience(self, problem: str) -> float:
        return _SILENT_S if problem == "silent" else self._refused_s

    def _end_process(self, name: str, address: str) -> None:
        """Not by an exception: the main thread waits for Ray inside of Ray, and so would its shutdown."""
        if self._advice:
            cursor = _SHOW_CURSOR if sys.stderr.isatty() else ""
            print(f"{cursor}concord: {name} at {address} has died; {self._how_to_go_on(self._advice)}", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        if self._scratch:
            remove_scratch(self._scratch)
        os._exit(1)

    def _how_to_go_on(self, advice: Callable[[], str]) -> str:
        try:
            return advice()
        except Exception:
            return "start again"


def problem_of(address: str) -> str | None:
    """`refused` where nobody listens at HOST:PORT, `silent` where nobody answers, None where somebody does."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=2).close()
    except (ConnectionRefusedError, ConnectionResetError):
        return "refused"
    except OSError:
        return "silent"
    return None
