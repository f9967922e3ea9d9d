"""One small Ray actor that carries messages between the sweep's driver, its trials and their Train controllers."""

import asyncio
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.training.observer import Outcome, RunInfo

if TYPE_CHECKING:
    from ray.actor import ActorHandle

DELIVERY_TIMEOUT_S = 10.0


class SweepBoard:
    """What each trial's controller posts for its trial to take off, and the controllers themselves for the driver to end.

    Its methods are coroutines, so that it serves others while a trial waits for events.
    """

    def __init__(self) -> None:
        self._events: dict[str, list[tuple[str, dict[str, Any]]]] = {}
        self._arrivals: dict[str, asyncio.Event] = {}
        self._controllers: dict[str, list[Any]] = {}

    async def post(self, run: str, event: str, values: dict[str, Any]) -> None:
        """Add an event of `run`: `start`, `report`, `finish` or `end` with its values."""
        self._events.setdefault(run, []).append((event, values))
        if run in self._arrivals:
            self._arrivals[run].set()

    async def take_events(self, run: str, wait_s: float) -> list[tuple[str, dict[str, Any]]]:
        """All events of `run` since the last call, oldest first; where there are none, those that come within `wait_s`."""
        if run not in self._events:
            arrival = self._arrivals[run] = asyncio.Event()
            with suppress(TimeoutError):
                await asyncio.wait_for(arrival.wait(), wait_s)
            if self._arrivals.get(run) is not arrival:
                # The trial has asked again since, from another process: what comes is for that one.
                return []
            del self._arrivals[run]
        return self._events.pop(run, [])

    async def register(self, run: str, controller: list[Any]) -> None:
        """`run` is trained by this controller from now on; what an earlier one posted is forgotten.

        The handle comes in a list, in which Ray leaves it as it is.
        """
        self._events.pop(run, None)
        self._controllers[run] = controller

    async def is_registered(self, run: str) -> bool:
        """Whether `run` is to be trained: it has entered, and the driver has not ended it."""
        return run in self._controllers

    async def unregister(self, run: str) -> list[Any]:
        """The controller of `run` in a list, empty if there is none; it is forgotten."""
        return self._controllers.pop(run, [])


def create_sweep_board() -> "ActorHandle[SweepBoard]":
    """Start a board on the driver's node; it takes no resources."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    # A board that is killed starts again, empty: reports are in the run folders, too.
    options: dict[str, Any] = {"num_cpus": 0, "scheduling_strategy": here, "max_restarts": -1, "max_task_retries": 2}
    return cast("ActorHandle[SweepBoard]", ray.remote(SweepBoard).options(**options).remote())


class TrialObserver:
    """Posts what a trial's trial actor wants to know: evaluations and the end."""

    def __init__(self, board: "ActorHandle[SweepBoard]", run: str) -> None:
        self._board, self._run = board, run

    def start(self, run: RunInfo) -> None:
        """Post the start."""
        self._board.post.remote(self._run, "start", {"total_steps": run.total_steps, "resumed_step": run.resumed_step})

    def report(self, metrics: dict[str, Any]) -> None:
        """Post an evaluation; records of training alone stay here."""
        if "train/evaluations" in metrics:
            values = {key: value for key, value in metrics.items() if key != "tables"}
            self._board.post.remote(self._run, "report", values)

    def finish(self, outcome: Outcome) -> None:
        """Post the outcome and wait until it is there."""
        ray.get(self._board.post.remote(self._run, "finish", asdict(outcome)), timeout=DELIVERY_TIMEOUT_S)
