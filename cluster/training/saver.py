"""Checkpoints are written by a thread beside the training, which only waits for their copy to memory."""

import threading
import time
from collections.abc import Callable
from types import TracebackType

from cluster.storage.checkpoint import prune
from cluster.storage.checkpoint_save import Ranks, Snapshot, write_checkpoint
from cluster.storage.run_folder import RunFolder
from cluster.training.history import History

# For how long a training that fails waits for what is being written.
_LEAVE_S = 10.0


class Saver:
    """Writes snapshots one after the other, in a `with`; all ranks make one each and call its methods equally often.

    `ranks`: how the writing threads agree, which have no collectives (`cluster.training.store_agreement`).
    `written_s`: what the newest checkpoint took from its copy to its manifest, in seconds; 0 before the first.
    """

    def __init__(self, folder: RunFolder, ranks: Ranks) -> None:
        self._folder, self._ranks = folder, ranks
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None
        self.written_s = 0.0

    def begin(self, snapshot: Snapshot, history: History, best_step: int | None, damaged: frozenset[str]) -> None:
        """Write `snapshot`, then `history`, and remove older checkpoints; `wait` has been called for the one before."""
        assert self._thread is None, "one checkpoint at a time"

        def write() -> None:
            storage, ranks = self._folder.storage, self._ranks
            write_checkpoint(storage, snapshot, ranks)
            ranks.from_rank_zero(lambda: history.write(self._folder))
            ranks.from_rank_zero(lambda: prune(storage, snapshot.step, best_step, damaged))

        self._thread = threading.Thread(target=self._run, args=(write,), name="saver", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Return when nothing is being written any more.

        Raises:
            OSError, pyarrow.ArrowException, RankError, UserError: a rank could not write; on all ranks.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def __enter__(self) -> "Saver":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """What fails elsewhere is not held up for long by a storage that does not answer, or by ranks that are gone."""
        if error is None:
            self.wait()
        elif self._thread is not None:
            self._thread.join(_LEAVE_S)

    def _run(self, write: Callable[[], None]) -> None:
        start = time.perf_counter()
        try:
            write()
        except Exception as error:
            self._error = error
        self.written_s = time.perf_counter() - start
