"""What one rank meets is told to all of them, and work that takes long is waited for outside any collective.

A collective in which somebody waits has a time-out, and knows nothing of why the others do not come. Here ranks meet in the
process group's store first: whoever works says every few seconds that it is alive, whoever fails says why, and then all go on
or all raise.
"""

import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch.distributed as dist
from torch.distributed.distributed_c10d import _get_default_store

from cluster.step.place import HERE
from cluster.storage.store_error import StoreError
from cluster.training.observer import one_line
from cluster.training.rank_failure import OtherRankError, RankError
from multitask.errors import UserError

T = TypeVar("T")
BEAT_S = 5.0
_LONGEST_PAUSE_S = 0.25
_LOST = (
    "gloo/transport",
    "Connection closed by peer",
    "Connection reset by peer",
)  # what gloo says of a rank that is gone
_GRACE_S = 3.0  # how long the others are waited for when one has failed: they may be about to say the same


class Agreement:
    """All ranks of one attempt make one each and call its methods equally often, in the same order.

    `timeout_s`: how long a rank may be silent before the others take it for dead.
    """

    _numbers = itertools.count()

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self._prefix = f"concord/{next(self._numbers)}"
        self._meetings, self._values = itertools.count(), itertools.count()

    def on_every_rank(self, action: Callable[[], T]) -> T:
        """Run `action`, which has no collectives, on every rank and give what it gave here.

        Raises:
            UserError: a rank met something that the user can mend; on all ranks.
            RankError: another rank met something else. Where it was met, it is raised as it is.
        """
        return self._run(action, names_ranks=True)

    def from_rank_zero(self, action: Callable[[], T]) -> T:
        """Run `action` on rank 0 alone and give its (picklable) result to all; raises as `on_every_rank` does."""
        box: list[Any] = [self._run(action if self.rank == 0 else lambda: None, names_ranks=False)]
        if self.world > 1:
            dist.broadcast_object_list(box, src=0)
        result: T = box[0]
        return result

    def gather(self, value: T) -> list[T]:
        """The (picklable) values of all ranks, by rank."""
        values: list[Any] = [value] * self.world
        if self.world > 1:
            dist.all_gather_object(values, value)
        return values

    def hosts(self) -> list[str]:
        """The host of each rank."""
        return self.gather(socket.gethostname())

    def post(self, name: str, text: str) -> None:
        """Leave a note that every rank can read from now on, without waiting for any."""
        _get_default_store().set(f"{self._prefix}/notes/{name}", text)

    def posted(self, name: str) -> str | None:
        """The note of that name, if a rank has left it."""
        store, key = _get_default_store(), f"{self._prefix}/notes/{name}"
        return store.get(key).decode() if store.check([key]) else None

    def _run(self, action: Callable[[], Any], *, names_ranks: bool) -> Any:
        if self.world == 1:
            return action()
        meeting = _Meeting(f"{self._prefix}/{next(self._meetings)}", self.rank, self.world, self._timeout_s)
        result, error = None, None
        with meeting.beats():
            try:
                result = action()
            except Exception as raised:
                error = raised
        meeting.arrive(error)
        if failures := meeting.wait():
            raise (
                error
                if error is not None and not isinstance(error, UserError)
                else _failure(failures, self.world, names_ranks)
            )
        return result


class _Meeting:
    """One place in the store where every rank comes by."""

    def __init__(self, key: str, rank: int, world: int, timeout_s: float) -> None:
        self._store, self._key = _get_default_store(), key
        self._rank, self._world, self._timeout_s = rank, world, timeout_s

    @contextmanager
    def beats(self) -> Iterator[None]:
        """Says every few seconds that this rank is alive, for as long as the block runs."""
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(BEAT_S):
                HERE.move()
                self._store.add(f"{self._key}/beats/{self._rank}", 1)

        thread = threading.Thread(target=beat, name="beats", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def arrive(self, error: Exception | None) -> None:
        """Leave word of how it went."""
        if error is not None:
            kind = "store" if isinstance(error, StoreError) else "user" if isinstance(error, UserError) else ""
            cause = str(error) if kind else one_line(error)
            self._leave_word(self._rank, kind, socket.gethostname(), cause)
        self._store.set(f"{self._key}/arrived/{self._rank}", "")
        self._store.add(f"{self._key}/arrived", 1)

    def wait(self) -> dict[int, tuple[str, str, str]]:
        """Wait for all ranks, or a little longer than until one has failed or has been silent for too long.

        Gives kind, host and cause of each failure.
        """
        pause, ends, listener = 0.001, float("inf"), _Listener(self._store, self._key, self._world)
        while self._count("arrived") < self._world and time.monotonic() < ends:
            if self._count("failures"):
                ends = min(ends, time.monotonic() + _GRACE_S)
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)
            if (silent := listener.silent_for(self._timeout_s)) is not None and not self._count("failures"):
                cause = f"not heard of for {self._timeout_s:g} s (cluster.collective_timeout)"
                self._leave_word(silent, "", "its host", cause)
        return self._read_failures() if self._count("failures") else {}

    def _leave_word(self, rank: int, kind: str, host: str, cause: str) -> None:
        self._store.set(f"{self._key}/failure/{rank}", "\n".join((kind, host, cause)))
        self._store.add(f"{self._key}/failures", 1)

    def _read_failures(self) -> dict[int, tuple[str, str, str]]:
        keys = {rank: f"{self._key}/failure/{rank}" for rank in range(self._world)}
        told = {rank: self._store.get(key).decode() for rank, key in keys.items() if self._store.check([key])}
        self._store.add(f"{self._key}/read", 1)
        ends = time.monotonic() + _GRACE_S
        while self._rank == 0 and self._count("read") < self._world and time.monotonic() < ends:
            time.sleep(_LONGEST_PAUSE_S)  # The store may end with rank 0.
        return {rank: _split(text) for rank, text in told.items()}

    def _count(self, what: str) -> int:
        return self._store.add(f"{self._key}/{what}", 0)


class _Listener:
    """Who of those that have not arrived is alive."""

    def __init__(self, store: Any, key: str, world: int) -> None:
        self._store, self._key = store, key
        self._looked = time.monotonic()
        self._beats = dict.fromkeys(range(world), 0)
        self._heard = dict.fromkeys(range(world), self._looked)

    def silent_for(self, seconds: float) -> int | None:
        """Looks every few seconds who has been heard of; a rank that has not been for so long."""
        now = time.monotonic()
        if now - self._looked < BEAT_S:
            return None
        self._looked = now
        for rank, before in self._beats.items():
            count = self._store.add(f"{self._key}/beats/{rank}", 0)
            if count != before or self._store.check([f"{self._key}/arrived/{rank}"]):
                self._beats[rank], self._heard[rank] = count, now
            elif now - self._heard[rank] > seconds:
                return rank
        return None


def rank_error(error: Exception) -> RankError:
    """What this rank met, for those who only see one line of it."""
    lost = isinstance(error, dist.DistError) or any(word in str(error) for word in _LOST)
    of_cluster = lost or isinstance(error, OSError | ImportError)
    kind = OtherRankError if lost else RankError
    return kind(dist.get_rank(), socket.gethostname(), one_line(error), of_cluster, HERE.step, str(HERE))


def _failure(failures: dict[int, tuple[str, str, str]], world: int, names_ranks: bool) -> Exception:
    """What the ranks that did not fail raise: what the lowest that the user cannot mend met, else what he can."""
    rank, (kind, host, cause) = min(failures.items(), key=lambda item: (item[1][0], item[0]))
    if not kind:
        return OtherRankError(rank, host, cause)
    everywhere = len(failures) == world and len({failure[2] for failure in failures.values()}) == 1
    error = StoreError if kind == "store" else UserError
    return error(str(RankError(rank, host, cause)) if names_ranks and not everywhere else cause)


def _split(text: str) -> tuple[str, str, str]:
    kind, host, cause = text.split("\n", 2)
    return kind, host, cause
