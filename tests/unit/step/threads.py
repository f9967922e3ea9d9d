"""Ranks that are threads: each calls `torch.distributed` as its process would."""

import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


class Ranks:
    """As many threads as ranks. `most_underway`: calls that a rank had begun and not waited for, at most; `sent`: elements, by
    sender and receiver.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, world: int) -> None:
        self.world, self._own = world, threading.local()
        self.most_underway = 0
        self.sent: Counter[tuple[int, int]] = Counter()
        self._calls: dict[tuple[tuple[int, ...], int], dict[int, list[Tensor]]] = defaultdict(dict)
        self._changed = threading.Condition()
        monkeypatch.setattr(dist, "get_rank", lambda: self._own.rank)
        monkeypatch.setattr(dist, "get_world_size", lambda: world)
        monkeypatch.setattr(dist, "new_group", lambda ranks=None, **_: tuple(ranks or range(world)))
        monkeypatch.setattr(dist, "all_to_all_single", self._all_to_all)

    def _all_to_all(
        self,
        out: Tensor,
        given: Tensor,
        take: list[int] | None = None,
        give: list[int] | None = None,
        group: tuple[int, ...] | None = None,
        async_op: bool = False,
    ) -> "_Work | None":
        members = group or tuple(range(self.world))
        even = [len(given) // len(members)] * len(members)
        number = self._own.calls[members] = self._own.calls[members] + 1
        self._own.underway += 1
        self.most_underway = max(self.most_underway, self._own.underway)
        for to, part in zip(members, give or even, strict=True):
            self.sent[self._own.rank, to] += part
        work = _Work(lambda: self._arrive(members, number, out, take or even))
        with self._changed:
            # Not copied: what is sent must stay as it is until it has been waited for.
            self._calls[members, number][self._own.rank] = list(given.split(give or even))
            self._changed.notify_all()
        if async_op:
            return work
        work.wait()
        return None

    def _arrive(self, members: tuple[int, ...], number: int, out: Tensor, take: list[int]) -> None:
        rank, world = self._own.rank, len(members)
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._calls[members, number]) == world, timeout=20)
            parts = [self._calls[members, number][sender][members.index(rank)] for sender in members]
            assert [len(part) for part in parts] == take
            out.copy_(torch.cat(parts))
            self._calls[members, -number][rank] = []
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: len(self._calls[members, -number]) == world, timeout=20)
        self._own.underway -= 1

    def run(self, work: Callable[[int], T]) -> list[T]:
        """`work` of each rank; raises what the first of them raised."""
        results: list[Any] = [None] * self.world
        errors: list[BaseException] = []
        self._calls.clear()
        self.sent.clear()

        def target(rank: int) -> None:
            self._own.rank, self._own.calls, self._own.underway = rank, Counter[tuple[int, ...]](), 0
            try:
                results[rank] = work(rank)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=target, args=(rank,)) for rank in range(self.world)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        if errors:
            raise errors[0]
        return results


class _Work:
    def __init__(self, arrive: Callable[[], None]) -> None:
        self.wait = arrive
