"""A process that tracks a run as training does: `python -m tests.tracked_process FOLDER JSON`.

The JSON holds `rows` (pairs of step and accuracy), `mode`, and `wait`: the process then waits for ever in place of ending.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from cluster.tracking.fragments import find_fragments
from cluster.tracking.tracker import WandbTracker
from multitask.config.cluster import TrackingConfig
from tests.unit.training.samples import dev_record, outcome, run_info

ROOT = Path(__file__).parents[1]


def track(folder: Path, *rows: tuple[int, float], mode: str = "offline") -> None:
    """Track a run in a process that ends by itself."""
    subprocess.run(_command(folder, rows, mode, False), cwd=ROOT, check=True, timeout=180)


def track_and_kill(folder: Path, *rows: tuple[int, float], mode: str = "offline") -> None:
    """Track a run in a process that is killed a good second after its last row; wandb-core has noticed when this returns."""
    folder.mkdir(exist_ok=True)
    (folder / "logged").unlink(missing_ok=True)
    process = subprocess.Popen(_command(folder, rows, mode, True), cwd=ROOT)
    wait_for(lambda: (folder / "logged").exists())
    time.sleep(1.5)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    wait_for(lambda: all(fragment.state != "live" for fragment in find_fragments(folder)))


def wait_for(condition: Callable[[], bool], seconds: float = 180.0) -> None:
    """Fail where `condition` does not come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _command(folder: Path, rows: tuple[tuple[int, float], ...], mode: str, wait: bool) -> list[str]:
    plan = json.dumps({"rows": rows, "mode": mode, "wait": wait})
    return [sys.executable, "-m", "tests.tracked_process", str(folder), plan]


def main() -> None:
    folder, plan = sys.argv[1], json.loads(sys.argv[2])
    tracker = WandbTracker(TrackingConfig(project="p", mode=plan["mode"], group="main-default", job_type="trial"))
    tracker.start(run_info(folder))
    for step, accuracy in plan["rows"]:
        tracker.report(dev_record(step, accuracy))
    Path(folder, "logged").touch()
    if plan["wait"]:
        time.sleep(600)
    tracker.finish(outcome())


if __name__ == "__main__":
    main()
