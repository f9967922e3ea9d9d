"""A rank's share of the next rounds, made while it trains."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from multitask.work import RoundWork

# The next round, and one more where one takes longer to make than to train.
_AHEAD = 2


class WorkAhead:
    """Gives a step's work, which a thread has made ahead of need and begun to send to the device.

    `share`: step to work, a pure function, which that thread alone calls; `steps`: of the whole run.
    """

    def __init__(self, share: Callable[[int], RoundWork], steps: int, device: torch.device) -> None:
        self._share, self._steps, self._device = share, steps, device
        self._thread = ThreadPoolExecutor(1, "batches")
        self._made: dict[int, Future[RoundWork]] = {}

    def of(self, step: int) -> RoundWork:
        """The work of `step`; whatever went wrong in making it is raised here."""
        for number in range(step, min(step + _AHEAD, self._steps - 1) + 1):
            if number not in self._made:
                self._made[number] = self._thread.submit(self._make, number)
        work = self._made.pop(step).result()
        # After a step back or ahead, as when a run is restored, what was made for others is of no use.
        for number in [number for number in self._made if not step < number <= step + _AHEAD]:
            self._made.pop(number).cancel()
        return work

    def _make(self, step: int) -> RoundWork:
        return self._share(step).to(self._device)
