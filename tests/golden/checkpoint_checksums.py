"""Checksums of trained weights, however they are cut, that a change of layout must not move: `python -m tests.golden.checkpoint_checksums FILE`.

A tiny encoder with dropout, ten rounds of three tasks. The kernels are held to those that every x86-64 processor has, so
that a checksum belongs to the code and not to the machine.
"""

import hashlib
import json
import os
import sys
import tempfile
from itertools import product
from pathlib import Path

from cluster.storage.shard_file import load_weights
from cluster.storage.storage import Storage
from tests.builders import build_tiny_bert, tiny_config, write_tiny_tasks
from tests.distributed.ranks import run_ranks

FILE = Path(__file__).with_name("checkpoint_checksums.json")
STEPS = 10
# One set of instructions and one order of summation, whatever the processor offers.
PORTABLE = {
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_CBWR": "COMPATIBLE",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


def checksums(folder: Path) -> dict[str, str]:
    """Train each case in `folder`; case name to the checksum of its weights after ten steps."""
    bert = build_tiny_bert(folder / "encoder", dropout=0.1)
    write_tiny_tasks(folder)
    found = {}
    for world in (1, 2):
        jobs = {}
        for method, stage in product(("sum", "pcgrad"), (1, 3)):
            jobs[f"{method}-zero{stage}-{world}"] = tiny_config(
                folder,
                name=f"{method}-zero{stage}-{world}",
                encoder={"name": str(bert), "dropout": 0.1, "dropout_key": "rank"},
                zero={"stage": stage},
                combination={"name": method},
            )
        run_ranks(world, list(jobs.values()), folder / f"world{world}", STEPS, save=True)
        found |= {name: checksum(folder / "runs" / name) for name in jobs}
    return found


def checksum(run: Path) -> str:
    """sha256 over the names and fp32 weights of all trained parameters."""
    weights = load_weights(Storage(str(run)), f"checkpoints/step-{STEPS:08d}")
    found = hashlib.sha256()
    for name, weight in sorted(weights.items()):
        found.update(name.encode())
        found.update(weight.numpy().tobytes())
    return found.hexdigest()


if __name__ == "__main__":
    os.environ.update(PORTABLE)
    with tempfile.TemporaryDirectory() as place:
        Path(sys.argv[1]).write_text(json.dumps(checksums(Path(place)), indent=1) + "\n")
