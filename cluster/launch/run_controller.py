"""Ray Train's controller as runs and trials use it: told by rank 0 how it goes, and asking it to save and end."""

import asyncio
import time
from typing import Any

from ray.train.v2._internal.execution.controller import TrainController

from cluster.launch.elastic import ElasticPolicy
from cluster.launch.nodes import draining_nodes
from cluster.launch.run_board import ControllerObserver
from cluster.training.stop_request import GROWTH, PREEMPTION

# How often it is looked whether hosts are to be taken away, and, where workers cannot start yet, whether they can.
_LOOK_S, _WAIT_S = 1.0, 0.2


class RunController(TrainController):
    """Ray Train's controller, which the worker of rank 0 tells by itself how the run goes.

    Ray's own report makes all ranks wait for each other and for a queue that is emptied twice a second. Workers that are to be
    more, or elsewhere, are asked to save and end first: then none of their steps is lost.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._observers = [own for own in arguments["callbacks"] if isinstance(own, ControllerObserver)]
        self._waiting: dict[tuple[str, int], dict[str, Any]] = {}
        self._next: dict[str, int] = {}
        self._stop, self._listeners = asyncio.Event(), 0
        self._stop_reason = self._restart_reason = ""
        self._looked = float("-inf")

    async def take(self, sender: str, number: int, record: dict[str, Any]) -> None:
        """Hand record `number` of `sender` on to the observers, in order: calls may overtake each other."""
        self._waiting[sender, number] = record
        while record := self._waiting.pop((sender, self._next.setdefault(sender, 0)), {}):
            self._next[sender] += 1
            for observer in self._observers:
                observer.take(record)

    async def failures(self) -> int:
        """How often workers were lost by now."""
        policy: Any = self._failure_policy
        lost: int = policy.failures
        return lost

    async def ask_to_stop(self, reason: str) -> bool:
        """Have the workers save and end after their step. False where there are none yet that could."""
        self._stop_reason = self._stop_reason or reason
        self._stop.set()
        return self._listeners > 0

    async def stop_asked(self) -> str:
        """Answers with the reason when the run shall end; rank 0 of each start of the workers waits for it."""
        self._listeners += 1
        await self._stop.wait()
        return self._stop_reason or self._restart_reason

    async def _step(self) -> Any:
        """As Ray's own, which does not pause while it waits for room: nobody else would be answered."""
        state = self.get_state()
        result = await super()._step()
        if result.next_state is state:
            await asyncio.sleep(_WAIT_S)
        return result

    def _make_and_handle_scaling_decision_for_non_running_worker_group(self, controller_state: Any) -> Any:
        """As Ray's own, once what is left of the workers has given back what it takes."""
        own: Any = self
        if self._worker_group:
            own._shutdown_worker_group()
        return super()._make_and_handle_scaling_decision_for_non_running_worker_group(controller_state)

    def _start_worker_group(self, *arguments: Any, **named: Any) -> None:
        self._restart_reason = ""
        if not self._stop_reason:
            self._stop = asyncio.Event()
        super()._start_worker_group(*arguments, **named)

    async def _poll_workers(self) -> Any:
        status = await super()._poll_workers()
        now = time.monotonic()
        if not self._restart_reason and now - self._looked >= _LOOK_S:
            self._looked = now
            self._restart_reason = self._reason_to_restart()
            if self._restart_reason:
                self._stop.set()
        return status

    def _reason_to_restart(self) -> str:
        """Why the workers shall save and be started again; empty where they shall go on."""
        assert self._worker_group is not None
        workers = self._worker_group.get_workers()
        leaving = draining_nodes()
        if any(worker.metadata.node_id in leaving for worker in workers):
            return PREEMPTION
        policy = self._scaling_policy
        return GROWTH if isinstance(policy, ElasticPolicy) and policy.can_grow else ""
