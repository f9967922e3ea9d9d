"""A trial hears at once of what its controller posts, and asks the board hardly ever while nothing happens."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest

import cluster.sweeps.trial_actor as trial_actor
from cluster.launch.resources import ResourcePlan
from cluster.storage.lease_record import Launch
from cluster.sweeps.sweep_board import SweepBoard
from cluster.sweeps.trial_actor import TrialRunner
from multitask.errors import UserError
from tests.unit.sweeps.recipes import recipe

LONG = 500.0


def _run(scenario: Callable[[SweepBoard], Coroutine[Any, Any, Any]]) -> Any:
    async def bounded() -> Any:
        return await asyncio.wait_for(scenario(SweepBoard()), 60)

    return asyncio.run(bounded())


def test_who_waits_gets_an_event_as_it_comes() -> None:
    async def scenario(board: SweepBoard) -> Any:
        waiting = asyncio.create_task(board.take_events("s-001", LONG))
        await asyncio.sleep(0)
        await board.post("s-002", "report", {"step": 5})
        await board.post("s-001", "report", {"step": 10})
        return await waiting, await board.take_events("s-002", LONG)

    assert _run(scenario) == ([("report", {"step": 10})], [("report", {"step": 5})])


def test_what_was_posted_before_comes_all_at_once_and_once() -> None:
    async def scenario(board: SweepBoard) -> Any:
        await board.post("s-001", "report", {"step": 10})
        await board.post("s-001", "finish", {})
        return await board.take_events("s-001", LONG), await board.take_events("s-001", 0.01)

    assert _run(scenario) == ([("report", {"step": 10}), ("finish", {})], [])


def test_who_waited_in_vain_may_ask_again() -> None:
    async def scenario(board: SweepBoard) -> Any:
        nothing = await board.take_events("s-001", 0.01)
        await board.post("s-001", "report", {"step": 10})
        return nothing, await board.take_events("s-001", LONG)

    assert _run(scenario) == ([], [("report", {"step": 10})])


def test_what_comes_is_for_who_asked_last() -> None:
    """The process of a trial that died may still be waiting when the next one asks."""

    async def scenario(board: SweepBoard) -> Any:
        dead = asyncio.create_task(board.take_events("s-001", 0.05))
        await asyncio.sleep(0)
        alive = asyncio.create_task(board.take_events("s-001", LONG))
        await asyncio.sleep(0)
        await board.post("s-001", "report", {"step": 10})
        first = await alive
        # While the living one is at work, what comes stays for it.
        await board.post("s-001", "report", {"step": 20})
        return await dead, first, await board.take_events("s-001", LONG)

    assert _run(scenario) == ([], [("report", {"step": 10})], [("report", {"step": 20})])


class BoardHere:
    """The board in a thread of this process, called as an actor is. `asked`: how long each call for events may wait."""

    def __init__(self) -> None:
        self._loop, self._board = asyncio.new_event_loop(), SweepBoard()
        self.asked, self.is_asked = list[float](), threading.Event()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=lambda *arguments: self._call(name, *arguments))

    def _call(self, name: str, *arguments: Any) -> Any:
        answer = asyncio.run_coroutine_threadsafe(getattr(self._board, name)(*arguments), self._loop)
        if name == "take_events":
            self.asked.append(arguments[1])
            self.is_asked.set()
        return answer.result(timeout=60)


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> BoardHere:
    monkeypatch.setattr(trial_actor.ray, "get", lambda answer, **more: answer)
    monkeypatch.setattr(trial_actor, "WAIT_S", LONG)
    return BoardHere()


def _runner(board: Any, train: Callable[[], dict[str, Any]]) -> Any:
    runner: Any = TrialRunner.__new__(TrialRunner)
    plan = ResourcePlan(workers=1, per_worker={"CPU": 1.0}, use_gpu=False)
    config: dict[str, Any] = {
        "board": [board],
        "selection": "dev/mean",
        "trackers": [lambda run: []],
        "plan": vars(plan),
    }
    config |= {"launch": Launch.here().to_dict(), "limit": None}
    runner.setup({**config, "donor": None, "started": 0.0, "config": recipe(name="s-001").to_dict(), "best": None})
    runner._train = train
    return runner


def test_trial_asks_as_often_as_something_happens(board: BoardHere) -> None:
    def train() -> dict[str, Any]:
        for number in (1, 2):
            board.is_asked.wait()
            board.is_asked.clear()
            board.post.remote("s-001", "report", {"train/evaluations": number, "dev/mean": 0.1 * number})
        board.is_asked.wait()
        return {"status": "finished", "reason": None}

    runner = _runner(board, train)
    results = [runner.step() for _ in range(3)]
    assert [result["score"] for result in results] == pytest.approx([0.1, 0.2, 0.2])
    assert (results[-1]["done"], results[-1]["status"]) == (True, "finished")
    # Two evaluations and the end; then a look at what may still lie there.
    assert board.asked == [LONG, LONG, LONG, 0]


def test_trial_that_cannot_begin_ends_at_once(board: BoardHere) -> None:
    def train() -> dict[str, Any]:
        board.is_asked.wait()
        raise UserError("no room")

    result = _runner(board, train).step()
    assert (result["status"], result["reason"], result["done"]) == ("failed", "no room", True)
    assert board.asked == [LONG, 0]


def test_end_that_an_earlier_attempt_left_on_the_board_ends_nothing(board: BoardHere) -> None:
    def train() -> dict[str, Any]:
        board.is_asked.wait()
        board.post.remote("s-001", "report", {"train/evaluations": 1, "dev/mean": 0.1})
        return {"status": "finished", "reason": None}

    board.post.remote("s-001", "end", {})
    assert _runner(board, train).step()["score"] == 0.1
