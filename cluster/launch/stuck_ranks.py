"""A rank that goes no further is found, its stack is read, and its process ended, so that the run begins again.

Ray Train looks whether a worker's process lives, for ten minutes. Here the controller asks every worker where it is.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import ray
from ray.exceptions import RayError
from ray.train.v2._internal.execution.callback import WorkerGroupCallback
from ray.train.v2._internal.execution.worker_group import WorkerGroup, WorkerGroupPollStatus
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.step.place import Place, whereabouts
from cluster.training.rank_failure import RankError

ASK_S = 2.0
# A process that answers nothing for so long has been stopped, or its host is gone.
SILENT_S = 60.0
# How long its stack is waited for: a host that is gone does not tell it.
STACK_S = 30.0
# The part of the collectives' own time-out after which it is known who does not come.
_BEFORE_TIMEOUT = 0.9
# In this order a rank goes through a step; the first of them are where others are waited for least.
_PARTS = ("data", "forward/backward", "communicate", "combine", "optimizer")
_FRAMES = 6
_OURS = {"cluster", "multitask"}


class _Seen(NamedTuple):
    """The last that was heard of a rank: where it was, when it answered, and when it had last moved."""

    place: Place
    answered: float
    moved: float


class _Suspect(NamedTuple):
    rank: int
    why: str
    since: float
    stack: Any


class StuckWatch(WorkerGroupCallback):
    """Watches the workers of a run from Ray Train's controller.

    `timeout_s`: of collectives. A rank that gives no sign of life for the lesser of a minute and half of it, or that is where it
    was for nearly all of it while no rank moves, is taken for stuck. `read_stack` gives a reference to the stack of a
    worker's process, `end` ends it.
    """

    def __init__(
        self,
        timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
        read_stack: Callable[[Any], Any] | None = None,
        end: Callable[[Any], object] | None = None,
    ) -> None:
        self._silent_s, self._still_s = min(SILENT_S, timeout_s / 2), timeout_s * _BEFORE_TIMEOUT
        self._clock = clock
        self._read_stack, self._end = read_stack or _read_stack, end or _end
        self._forget()

    def _forget(self) -> None:
        self._workers: Sequence[Any] = ()
        self._asked: dict[int, Any] = {}
        self._seen: dict[int, _Seen] = {}
        self._last_asked = float("-inf")
        self._suspect: _Suspect | None = None

    def after_worker_group_training_start(self, worker_group: WorkerGroup) -> None:
        """They begin."""
        self._forget()
        self._workers = worker_group.get_workers()
        now = self._clock()
        self._seen = {rank: _Seen(Place(), now, now) for rank in range(len(self._workers))}

    def before_worker_group_shutdown(self, worker_group: WorkerGroup) -> None:
        """They end."""
        self._forget()

    def after_worker_group_poll_status(self, worker_group_status: WorkerGroupPollStatus) -> None:
        """Ask and listen, without waiting; a stuck rank's status becomes an error, which ends this start of the workers."""
        statuses = worker_group_status.worker_statuses
        if not self._workers or any(status.error or not status.running for status in statuses.values()):
            return
        self._listen()
        self._ask()
        if self._suspect is None and (found := self._stuck()):
            rank, why = found
            self._suspect = _Suspect(rank, why, self._clock(), self._read_stack(self._workers[rank]))
        if self._suspect and (stack := self._stack_of(self._suspect)):
            rank, worker, place = self._suspect.rank, self._workers[self._suspect.rank], self._place_of_suspect()
            cause = f"{self._suspect.why}; {stack}"
            statuses[rank].error = RankError(rank, worker.metadata.hostname, cause, True, place.step, str(place))
            self._end(worker)
            self._forget()

    def _ask(self) -> None:
        now = self._clock()
        if now - self._last_asked >= ASK_S:
            self._last_asked = now
            for rank, worker in enumerate(self._workers):
                if rank not in self._asked:
                    self._asked[rank] = worker.execute_async(whereabouts)

    def _listen(self) -> None:
        now = self._clock()
        for rank, reference in list(self._asked.items()):
            if not ray.wait([reference], timeout=0)[0]:
                continue
            del self._asked[rank]
            # A worker that has died is told by Ray.
            with suppress(RayError):
                place, last = ray.get(reference), self._seen[rank]
                self._seen[rank] = _Seen(place, now, last.moved if place.moves == last.place.moves else now)

    def _stuck(self) -> tuple[int, str] | None:
        """The rank for which the others wait, and how that is known."""
        now = self._clock()
        silent = [rank for rank, seen in self._seen.items() if now - seen.answered > self._silent_s]
        if silent:
            return silent[0], f"its process gave no sign of life for {self._silent_s:g} s"
        moved = max(seen.moved for seen in self._seen.values())
        if len(self._seen) > 1 and now - moved > self._still_s:
            rank = min(self._seen, key=lambda rank: _how_far(self._seen[rank].place))
            return rank, f"no rank came on for {self._still_s:g} s (cluster.collective_timeout), this one is behind"
        return None

    def _place_of_suspect(self) -> Place:
        assert self._suspect is not None
        return self._seen[self._suspect.rank].place

    def _stack_of(self, suspect: _Suspect) -> str:
        """Its innermost frames; empty as long as they may come."""
        if ray.wait([suspect.stack], timeout=0)[0]:
            try:
                return f"it is in {ray.get(suspect.stack)}"
            except RayError as error:
                return f"its stack could not be read: {str(error).strip().splitlines()[-1]}"
        return "its host does not answer" if self._clock() - suspect.since > STACK_S else ""


def _how_far(place: Place) -> tuple[int, int]:
    return place.step or 0, _PARTS.index(place.part) if place.part in _PARTS else len(_PARTS)


def _on_host_of(worker: Any, function: Callable[[int], Any]) -> Any:
    """Run `function` of the worker's process id beside it, in a process of its own."""
    here = NodeAffinitySchedulingStrategy(worker.metadata.node_id, soft=False)
    task: Any = ray.remote(function).options(num_cpus=0, max_retries=0, scheduling_strategy=here)
    return task.remote(worker.metadata.pid)


def _read_stack(worker: Any) -> Any:
    return _on_host_of(worker, innermost_frames)


def _end(worker: Any) -> None:
    _on_host_of(worker, _kill)


def _kill(pid: int) -> None:
    """A process that was stopped does not end by itself."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def innermost_frames(pid: int) -> str:
    """Where a process's training thread is, in one line: the innermost frame, then those of our code. It need not be able to answer."""
    spy = shutil.which("py-spy", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if spy is None:
        return "an unknown place, for py-spy is not installed there"
    done = subprocess.run(
        [spy, "dump", "--json", "--nonblocking", "--pid", str(pid)], capture_output=True, text=True, timeout=STACK_S
    )
    if done.returncode:
        return f"an unknown place, for py-spy says: {done.stderr.strip().splitlines()[-1]}"
    threads = [thread["frames"] for thread in json.loads(done.stdout)]
    trains = [frames for frames in threads if any(frame["name"] == "train_worker" for frame in frames)]
    first, *outer = (trains or threads)[0]
    innermost = [first, *(frame for frame in outer if _OURS & set(Path(frame["filename"]).parts))][:_FRAMES]
    return " < ".join(f"{frame['name']} ({Path(frame['filename']).name}:{frame['line']})" for frame in innermost)
