"""How often it pays to save: from what a checkpoint costs and how often workers are lost."""

import math
import time

from cluster.training.session import Session

# What is believed of a run that has lost nothing yet.
UNKNOWN_S = 4 * 3600.0
# The first checkpoint measures what one costs; by how much the interval may grow from one to the next.
FIRST_STEPS, LARGEST_GROWTH = 10, 4


def mean_time_between_failures(seconds: float, failures: int) -> float:
    """Of a run that lost workers `failures` times in `seconds`; four hours where it has not, or longer if it lives longer."""
    return seconds / failures if failures else max(UNKNOWN_S, seconds)


def best_interval(save_s: float, failure_s: float) -> float:
    """Seconds between two checkpoints that lose the least: √(2·δ·M), J. W. Young, CACM 17(9), 1974, eq. 6.

    `save_s`: δ, what a checkpoint holds the training up; `failure_s`: M, mean seconds between two failures.
    """
    return math.sqrt(2 * save_s * failure_s)


class AutoSave:
    """`training.save_every=auto`: after which step the next checkpoint is due. All ranks call it alike, rank 0 measures."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._steps, self._due = FIRST_STEPS, -1
        self._saved_step, self._saved_at = 0, time.monotonic()

    def is_due(self, step: int) -> bool:
        """Whether to save after `step` steps; asked after each."""
        if self._due < 0:
            self._saved_step, self._saved_at = step - 1, time.monotonic()
            self._due = self._saved_step + FIRST_STEPS
        return step >= self._due

    def saved(self, step: int, held_s: float, written_s: float) -> None:
        """Take in what the checkpoint after `step` cost; all ranks take part.

        `held_s`: for how long it held the training up; `written_s`: how long the one before was written, beside the training.
        No checkpoint is begun before the last one can be expected to be there.
        """
        seconds = time.monotonic() - self._saved_at
        steps = max(1, step - self._saved_step)
        self._saved_step, self._saved_at = step, time.monotonic()
        own = self._steps_until_next(seconds / steps, held_s, written_s)
        self._steps = self._session.agreement.from_rank_zero(lambda: own)
        self._due = step + self._steps

    def _steps_until_next(self, seconds_per_step: float, held_s: float, written_s: float) -> int:
        session = self._session
        failure_s = mean_time_between_failures(time.time() - session.began, session.failures)
        wanted = max(best_interval(held_s, failure_s), written_s) / seconds_per_step
        return max(1, min(round(wanted), LARGEST_GROWTH * self._steps))
