"""The wish that a run saves and ends after a step: asked of rank 0, agreed on by all ranks without waiting."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cluster.training.agreement import Agreement

INTERRUPTED = "interrupted"
# For these the workers, once they have saved, are started again: more of them, or elsewhere.
GROWTH, PREEMPTION = "there is room for more workers", "a host is to be taken away"
RESTARTS = (GROWTH, PREEMPTION)
# Not for others to ask for: it is raised where the run is about to end.
NOT_WRITTEN = "a checkpoint could not be written"
_NOTE = "stop"


class RestartRequestedError(Exception):
    """The workers have saved and end on all ranks, to be started again."""


class StopRequest:
    """Every rank asks `due` before each step; all are told to stop before the same one.

    `asked` gives the reason once there is one, and never waits; only rank 0's counts. What rank 0 hears before a step it
    announces for the step after it: no rank gets there before rank 0 has taken part in the step, whose exchange joins all
    of them.
    """

    def __init__(self, asked: Callable[[], str | None], agreement: "Agreement") -> None:
        self._asked, self._agreement = asked, agreement
        self._announced = False

    def due(self, step: int) -> str | None:
        """The reason for which the run ends now, after `step` steps; the same on every rank."""
        if self._agreement.world == 1:
            return self._asked()
        if self._agreement.rank == 0 and not self._announced and (reason := self._asked()):
            self._agreement.post(_NOTE, f"{step + 1}\n{reason}")
            self._announced = True
        note = self._agreement.posted(_NOTE)
        if note is None:
            return None
        last, reason = note.split("\n", 1)
        return reason if step >= int(last) else None
