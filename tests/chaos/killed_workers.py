"""What killing a worker again and again costs: steps of one run, undisturbed and disturbed, and whether both end alike.

    python -m tests.chaos.killed_workers --epochs 400 --every 60

Trains the same run twice on a Ray of its own with two workers: to the end, then with one random worker killed every so many
seconds. Prints the seconds of both from the first step to the last, the seconds from each kill to the next new step, the steps trained
twice, and whether weights and optimizer are the same bits.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.builders import build_tiny_bert, tiny_config, write_tiny_tasks
from tests.integration.commands import CONCORD, Command, command_line, descendants, final_files, result, write_recipe


class Watched:
    """A run under way: when it came to which step."""

    def __init__(self, command: Command) -> None:
        self._command = command
        self.first = self.last = 0.0
        self.highest, self.again = 0, 0
        self.gaps: list[float] = []
        self._killed_at: float | None = None
        self._is_new = True

    def follow(self, every: float | None, chance: random.Random) -> None:
        """Read to the end; kill a worker `every` seconds, counted from the first step after the last kill's time."""
        due = float("inf")
        for event in self._command.events():
            now = time.monotonic()
            if event["event"] == "start" and self.first:
                self.again += max(0, self.highest - event["resumed_step"])
                self._is_new = True
            if event["event"] != "report" or event["step"] < 1:
                continue
            if not self.first:
                self.first, due = now, now + (every or float("inf"))
            if event["step"] > self.highest:
                self.highest, self.last = event["step"], now
                # What the lost workers still reported comes first.
                if self._killed_at is not None and self._is_new:
                    self.gaps.append(now - self._killed_at)
                    self._killed_at = None
            if now >= due and self._killed_at is None:
                due += every or 0.0
                self._killed_at, self._is_new = now, False
                self._kill(chance)

    def _kill(self, chance: random.Random) -> None:
        workers = [pid for pid in descendants(self._command.pid) if "RayTrainWorker" in command_line(pid)]
        with suppress(ProcessLookupError, IndexError):
            os.kill(chance.choice(workers), signal.SIGKILL)


def train(recipe: Path, changes: list[str], every: float | None, seed: int) -> Watched:
    """Train `recipe` to the end."""
    with Command([*CONCORD, "train", str(recipe), "--json", *changes]) as command:
        watched = Watched(command)
        watched.follow(every, random.Random(seed))
        code, _, error = command.finish()
    if code:
        sys.exit(f"the run failed with {code}: {error}")
    return watched


def recipe_of(place: Path, name: str, epochs: int, save_every: str) -> Path:
    """The recipe of one of the two runs; dropout is on."""
    tree: dict[str, Any] = tiny_config(
        place,
        name=name,
        encoder={"dropout": 0.2},
        phases=[{"sampling": {"name": "round_robin"}, "epochs": epochs}],
        training={
            "save_every": save_every if save_every == "auto" else int(save_every),
            "evaluate_every": 10**6,
            "log_every": 5,
        },
        cluster={"workers": 2, "cpus_per_worker": 0.5, "max_failures": 1000, "spares": True},
        tracking={"mode": "disabled"},
    )
    return write_recipe(place / f"{name}.yaml", tree)


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=400, help="of four steps each")
    parser.add_argument("--every", type=float, default=60, help="seconds between two kills")
    parser.add_argument("--save-every", default="auto", help="training.save_every")
    parser.add_argument("--change", nargs="*", default=[], help="overrides, such as cluster.spares=false")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        build_tiny_bert(place / "encoder")
        write_tiny_tasks(place)
        calm, rough = (
            train(recipe_of(place, name, asked.epochs, asked.save_every), asked.change, every, asked.seed)
            for name, every in (("calm", None), ("rough", asked.every))
        )
        files = [final_files(place / "runs" / name) for name in ("calm", "rough")]
        same = all(files[0][name] == files[1][name] for name in files[0] if name.startswith("shard"))
        same &= result(place / "runs/calm")["history"] == result(place / "runs/rough")["history"]
    seconds = [watched.last - watched.first for watched in (calm, rough)]
    figures = {
        "steps": rough.highest,
        "undisturbed seconds": round(seconds[0], 1),
        "disturbed seconds": round(seconds[1], 1),
        "throughput": round(seconds[0] / seconds[1], 3),
        "kills": len(rough.gaps),
        "seconds from a kill to the next new step": [round(gap, 1) for gap in rough.gaps],
        "steps trained again": rough.again,
        "same bits": same,
    }
    json.dump(figures, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
