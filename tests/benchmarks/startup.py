"""Seconds from the command to the first step and to the end, with the data cached: plain process, Ray workers, trials.

python -m tests.benchmarks.startup
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.integration.commands import CONCORD, environment

VARIANTS = {
    "one plain process": ["--no-ray"],
    "one Ray worker": ["cluster.workers=1"],
    "two Ray workers": ["cluster.workers=2"],
}


def measure(extra: list[str], storage: str) -> dict[str, float]:
    """Train the demo for two steps without evaluation worth the name; time the lines that it prints."""
    arguments = ["train", "demo", "--json", "--restart", f"cluster.storage={storage}", "tracking.mode=disabled"]
    arguments += [
        "phases.0.steps_per_epoch=2",
        "phases.0.epochs=1",
        "training.log_every=1",
        "training.evaluate_before=false",
    ]
    start = time.perf_counter()
    process = subprocess.Popen(
        [*CONCORD, *arguments, *extra], stdout=subprocess.PIPE, text=True, env=environment(), stderr=subprocess.DEVNULL
    )
    first = None
    assert process.stdout is not None
    for line in process.stdout:
        event: dict[str, Any] = json.loads(line)
        if first is None and event["event"] == "report" and event["step"] >= 1:
            first = time.perf_counter() - start
    process.wait()
    assert first is not None
    return {"first step": round(first, 1), "end": round(time.perf_counter() - start, 1)}


def measure_trials(storage: str, concurrent: int) -> list[float]:
    """Seconds from a trial's start to its first step, for each of five trials of a sweep in their order."""
    arguments = [
        "sweep",
        "demo",
        "--space",
        "learning_rate",
        "--trials",
        "5",
        "--evaluations",
        "1",
        "--storage",
        storage,
    ]
    arguments += ["--name", f"start-{concurrent}", "--concurrent", str(concurrent), "cluster.workers=1"]
    arguments += ["phases.0.steps_per_epoch=2", "training.evaluate_before=false", "tracking.mode=disabled"]
    subprocess.run([*CONCORD, *arguments], env=environment(), check=True, capture_output=True)
    results = sorted(Path(storage, f"start-{concurrent}", "trials").glob("*/result.json"))
    return [round(json.loads(path.read_text())["seconds"]["start"], 1) for path in results]


def main() -> None:
    """Print the figures as JSON; the first run of all fills the caches and is not counted."""
    with tempfile.TemporaryDirectory() as storage:
        measure(["--no-ray"], storage)
        figures: dict[str, Any] = {name: measure(extra, storage) for name, extra in VARIANTS.items()}
        figures["trials, one at a time"] = measure_trials(storage, 1)
        figures["trials, two at a time"] = measure_trials(storage, 2)
        json.dump(figures, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
