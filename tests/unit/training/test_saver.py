"""The thread that writes checkpoints: beside the training, one at a time, and its errors are not lost."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
import torch

from cluster.step.stopwatch import Stopwatch
from cluster.storage.checkpoint import find_checkpoint, read_state
from cluster.storage.checkpoint_save import Snapshot
from cluster.storage.run_folder import RunFolder
from cluster.storage.storage import Data, Storage
from cluster.training import saver as module
from cluster.training.run_files import RunFiles
from cluster.training.saver import Saver

T = TypeVar("T")
CPU = torch.device("cpu")


class Alone:
    """The one rank of a run."""

    def on_every_rank(self, action: Callable[[], T]) -> T:
        return action()

    from_rank_zero = on_every_rank

    def gather(self, value: T) -> list[T]:
        return [value]


class GatedStorage(Storage):
    """Writes no shard before it may, and none at all once it is full."""

    may_write = threading.Event()
    is_full = False

    def write(self, path: str, data: Data) -> None:
        if "shard-" in path:
            assert self.may_write.wait(60)
            if self.is_full:
                raise OSError(28, "No space left on device")
        super().write(path, data)


@pytest.fixture
def storage(tmp_path: Path) -> GatedStorage:
    storage = GatedStorage(str(tmp_path))
    storage.may_write = threading.Event()
    return storage


@pytest.fixture
def saver(storage: GatedStorage) -> Saver:
    return Saver(RunFolder(storage), Alone(), Stopwatch(CPU), CPU)


def _snapshot(step: int) -> Snapshot:
    return Snapshot(
        step, "shard-00000-of-00001.safetensors", b"weights", {"state.json": f'{{"step": {step}}}'.encode()}
    )


def _begin(saver: Saver, step: int, best: int | None = None) -> None:
    saver.save(lambda memory: _snapshot(step), RunFiles(lambda: None, lambda: None), best)


def test_training_goes_on_while_the_storage_is_slow(saver: Saver, storage: GatedStorage) -> None:
    _begin(saver, 4)
    assert find_checkpoint(storage)[0] is None
    storage.may_write.set()
    saver.wait()
    assert find_checkpoint(storage)[0] == "checkpoints/step-00000004"
    assert read_state(storage, "checkpoints/step-00000004") == {"step": 4}
    assert saver.written_s > 0


def test_one_checkpoint_at_a_time(saver: Saver, storage: GatedStorage) -> None:
    _begin(saver, 4)
    threading.Timer(0.2, storage.may_write.set).start()
    _begin(saver, 8)
    assert find_checkpoint(storage)[0] in ("checkpoints/step-00000004", "checkpoints/step-00000008")
    saver.wait()
    assert storage.folders("checkpoints") == ["step-00000004", "step-00000008"]


def test_error_of_the_writing_comes_where_it_is_waited_for_and_once(saver: Saver, storage: GatedStorage) -> None:
    storage.may_write.set()
    _begin(saver, 4)
    saver.wait()
    storage.is_full = True
    _begin(saver, 8)
    with pytest.raises(OSError, match="No space left"):
        saver.wait()
    saver.wait()
    found, problems = find_checkpoint(storage)
    assert found == "checkpoints/step-00000004"  # The one before is still there.
    assert all("no manifest" in problem for problem in problems.values())


def test_error_of_the_last_checkpoint_ends_the_block(saver: Saver, storage: GatedStorage) -> None:
    storage.may_write.set()
    storage.is_full = True
    with pytest.raises(OSError, match="No space left"), saver:
        _begin(saver, 4)


def _train_and_fail(saver: Saver) -> None:
    with saver:
        _begin(saver, 4)
        raise RuntimeError("device-side assert")


def test_failed_training_does_not_wait_for_a_storage_that_hangs(
    saver: Saver, storage: GatedStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LEAVE_S", 0.1)
    with pytest.raises(RuntimeError, match="device-side assert"):
        _train_and_fail(saver)
    storage.may_write.set()


def test_failed_write_is_known_before_anybody_waits_for_it(saver: Saver, storage: GatedStorage) -> None:
    _begin(saver, 4)
    assert not saver.has_failed
    storage.is_full = True
    storage.may_write.set()
    ends = time.monotonic() + 60
    while not saver.has_failed:
        assert time.monotonic() < ends
        time.sleep(0.01)
    with pytest.raises(OSError, match="No space left"):
        _begin(saver, 8)
    assert not saver.has_failed


def test_files_of_the_run_come_before_the_shards_and_after_the_manifest(saver: Saver, storage: GatedStorage) -> None:
    manifest, older = "checkpoints/step-00000008/manifest.json", "checkpoints/step-00000001"
    storage.write(f"{older}/state.json", b"{}")
    storage.may_write.set()
    seen = {}

    def look(when: str) -> None:
        seen[when] = storage.exists(manifest), storage.exists(older)

    saver.save(lambda memory: _snapshot(8), RunFiles(lambda: look("before"), lambda: look("after")), None)
    saver.wait()
    assert seen == {"before": (False, True), "after": (True, True)}
    assert not storage.exists(older)


def test_process_killed_while_it_writes_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    """The shard is there, the manifest is not yet."""
    script = (
        "import sys, threading\n"
        "from tests.unit.training.test_saver import Alone, GatedStorage, _begin, Saver, RunFolder, Stopwatch, CPU\n"
        "class Stuck(GatedStorage):\n"
        "    def write(self, path, data):\n"
        "        if path == 'checkpoints/step-00000008/manifest.json':\n"
        "            print('stuck', flush=True)\n"
        "            threading.Event().wait()\n"
        "        super().write(path, data)\n"
        "Stuck.may_write.set()\n"
        "saver = Saver(RunFolder(Stuck(sys.argv[1])), Alone(), Stopwatch(CPU), CPU)\n"
        "_begin(saver, 4)\n"
        "_begin(saver, 8)\n"
        "saver.wait()\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "stuck\n"
        os.kill(process.pid, signal.SIGKILL)
    storage = Storage(str(tmp_path))
    assert storage.exists("checkpoints/step-00000008/shard-00000-of-00001.safetensors")
    found, problems = find_checkpoint(storage)
    assert found == "checkpoints/step-00000004"
    assert problems == {"step-00000008": "no manifest: it was not finished"}


def test_older_checkpoints_go_when_the_new_one_is_whole(saver: Saver, storage: GatedStorage) -> None:
    storage.may_write.set()
    for step in (4, 8, 12, 16):
        _begin(saver, step, best=4)
        saver.wait()
    assert storage.folders("checkpoints") == [f"step-{step:08d}" for step in (4, 12, 16)]
