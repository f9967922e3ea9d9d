"""Checkpoints are written by a thread beside the training, which only waits for their copy to memory."""

import threading
import time
from collections.abc import Callable
from types import TracebackType

import torch

from cluster.step.stopwatch import Stopwatch
from cluster.storage.checkpoint import checkpoint_name, prune
from cluster.storage.checkpoint_save import Ranks, Snapshot, SnapshotMemory, write_checkpoint
from cluster.storage.run_folder import RunFolder
from cluster.training.run_files import RunFiles
from cluster.training.save_interval import AutoSave

# For how long a training that fails waits for what is being written.
_LEAVE_S = 10.0


class Saver:
    """Writes snapshots one after the other, in a `with`; all ranks make one each and call its methods equally often.

    `ranks`: how the writing threads agree, which have no collectives (`cluster.training.store_agreement`). `watch` counts
    for how long training is held up. `device`: where the weights are. `every`: says by what
    checkpoints cost when the next is due. `damaged`: names of checkpoints that are not whole. `saved_step`: that of the newest.
    """

    def __init__(
        self, folder: RunFolder, ranks: Ranks, watch: Stopwatch, device: torch.device, every: AutoSave | None = None
    ) -> None:
        self._folder, self._ranks, self._watch, self._every = folder, ranks, watch, every
        self._memory = SnapshotMemory(device)
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None
        self.damaged: set[str] = set()
        self.saved_step, self.written_s = 0, 0.0

    def is_due(self, step: int) -> bool:
        """Whether it pays to save after `step` steps; not where the number of steps alone decides."""
        return self._every is not None and self._every.is_due(step)

    @property
    def has_failed(self) -> bool:
        """Whether something could not be written, which `wait` raises; never waits."""
        return self._error is not None

    def save(self, take: Callable[[SnapshotMemory], Snapshot], files: RunFiles, best_step: int | None) -> None:
        """Begin to write what `take` gives, with `files`, and to remove older checkpoints but for that of `best_step`.

        Raises:
            OSError, pyarrow.ArrowException, RankError, UserError: as `wait`, for the checkpoint before.
        """
        start = time.perf_counter()
        self.wait()
        with self._watch("save"):
            snapshot = take(self._memory)
        self.damaged.discard(checkpoint_name(snapshot.step))
        damaged, storage, ranks = frozenset(self.damaged), self._folder.storage, self._ranks

        def write() -> None:
            ranks.from_rank_zero(files.before)
            write_checkpoint(storage, snapshot, ranks)
            ranks.from_rank_zero(files.after)
            ranks.from_rank_zero(lambda: prune(storage, snapshot.step, best_step, damaged))

        self.saved_step = snapshot.step
        self._thread = threading.Thread(target=self._run, args=(write,), name="saver", daemon=True)
        self._thread.start()
        if self._every:
            self._every.saved(snapshot.step, time.perf_counter() - start, self.written_s)

    def wait(self) -> None:
        """Return when nothing is being written any more; `written_s` is what the newest took beside the training.

        Raises:
            OSError, pyarrow.ArrowException, RankError, UserError: a rank could not write; on all ranks.
        """
        if self._thread is not None:
            with self._watch("save"):
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
