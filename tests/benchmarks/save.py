"""For how long a checkpoint holds the training up, beside what it takes where the training waits for all of it.

    python -m tests.benchmarks.save [--parameters 110e6]

One worker's weights and two moments, of BERT base by default, saved again and again by the thread beside the training
and, each time after it, by the training itself; medians over saves, the first of all left out, and their ratio.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch

from cluster.step.stopwatch import Stopwatch
from cluster.storage.checkpoint_save import SnapshotMemory, take_snapshot, write_checkpoint
from cluster.storage.run_folder import RunFolder
from cluster.storage.storage import Storage
from cluster.training.run_files import RunFiles
from cluster.training.saver import Saver
from cluster.training.session import LocalSession

SAVES = 5
_NOTHING = RunFiles(lambda: None, lambda: None)


def _engine(parameters: int) -> Any:
    """What a snapshot asks of an engine: a flat shard and the moments beside it."""
    master, *moments = (torch.rand(parameters) for _ in range(3))
    entries = [("0/exp_avg", moments[0]), ("0/exp_avg_sq", moments[1]), ("0/step", torch.tensor(1.0))]
    partition = SimpleNamespace(masters=[master], owned=[{}])
    return SimpleNamespace(partition=partition, state=SimpleNamespace(entries=lambda: iter(entries)))


def measure(parameters: int, folder: str) -> dict[str, float]:
    """Seconds of a save that is waited for, and for how long one holds up that is not."""
    session, engine = LocalSession("cpu"), _engine(parameters)
    memory, storage = SnapshotMemory(session.device), Storage(folder)
    whole, held = [], []
    with Saver(RunFolder(storage), session.agreement, Stopwatch(session.device), session.device) as saver:
        for step in range(0, 2 * SAVES + 2, 2):
            start = time.perf_counter()
            saver.save(partial(take_snapshot, engine, step, {}, {}), _NOTHING, None)
            held.append(time.perf_counter() - start)
            saver.wait()
            start = time.perf_counter()
            write_checkpoint(storage, take_snapshot(engine, step + 1, {}, {}, memory), session.agreement)
            whole.append(time.perf_counter() - start)
    blocked, waited = statistics.median(held[1:]), statistics.median(whole[1:])
    return {"waited for": round(waited, 3), "held up": round(blocked, 3), "share": round(blocked / waited, 3)}


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--parameters", type=float, default=110e6)
    with tempfile.TemporaryDirectory() as folder:
        json.dump(measure(int(parser.parse_args().parameters), folder), sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
