"""Seconds from the loss of a worker to the next new step, with a spare process beside each worker and without.

python -m tests.benchmarks.restart
"""

import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.builders import build_tiny_bert, tiny_config, write_tiny_tasks
from tests.integration.commands import CONCORD, Command, command_line, descendants, write_recipe

KILLS = 2
# Trained in peace before each kill.
PEACE_S = 20.0


def measure(recipe: Path, *changes: str) -> list[float]:
    """Kill one of two workers again and again."""
    gaps: list[float] = []
    with Command([*CONCORD, "train", str(recipe), "--json", "--restart", *changes]) as command:
        began, killed, highest, is_new = 0.0, 0.0, 0, True
        for event in command.events():
            # What the lost workers still reported comes first.
            is_new |= event["event"] == "start"
            if event["event"] != "report" or event["step"] <= highest:
                continue
            now, highest = time.monotonic(), event["step"]
            if killed and is_new:
                gaps.append(round(now - killed, 1))
                killed, began = 0.0, 0.0
            if len(gaps) == KILLS:
                break
            began = began or now
            if now - began >= PEACE_S and not killed:
                workers = [pid for pid in descendants(command.pid) if "RayTrainWorker" in command_line(pid)]
                os.kill(workers[-1], signal.SIGKILL)
                killed, is_new = now, False
    return gaps


def main() -> None:
    """Print the figures as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        build_tiny_bert(place / "encoder")
        write_tiny_tasks(place)
        tree: dict[str, Any] = tiny_config(
            place,
            phases=[{"sampling": {"name": "round_robin"}, "epochs": 10_000}],
            training={"save_every": 10, "evaluate_every": 10**6, "log_every": 1},
            cluster={"workers": 2, "cpus_per_worker": 0.5, "max_failures": 1000, "spares": True},
            tracking={"mode": "disabled"},
        )
        recipe = write_recipe(place / "recipe.yaml", tree)
        figures = {
            f"cluster.spares={spares}": measure(recipe, f"cluster.spares={spares}") for spares in ("true", "false")
        }
    json.dump(figures, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
