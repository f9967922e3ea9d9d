"""What a W&B run needs to know of its past when it goes on in a new process."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from multitask.score_names import is_dev_score

TRAIN = ("train/", "combination/", "throughput/")


def kinds_of(row: Mapping[str, Any]) -> set[str]:
    """What a row holds of a step: `train` records, `dev` scores, both or neither."""
    kinds = {"train"} if any(key.startswith(TRAIN) for key in row) else set()
    return kinds | {"dev"} if any(is_dev_score(key) for key in row) else kinds


class ResumeState:
    """The W&B id of a run, its next free row, its last steps and its best dev scores, in a file that is replaced at every row.

    An offline run that goes on knows nothing of the process before it: neither the rows, nor the best scores, so that its
    summary would take the place of a better one.

    Args:
        file: where it is kept; None keeps it in memory only.
        wandb_id: the W&B id of a run that has none yet.
    """

    def __init__(self, file: Path | None, wandb_id: str) -> None:
        self._file = file
        known = _read(file)
        self.continued = bool(known)
        self.wandb_id: str = known.get("id", wandb_id)
        self.next_row: int = known.get("next_row", 0)
        self.steps: dict[str, int] = known.get("steps", {})
        self.scores: dict[str, dict[str, float]] = known.get("scores", {})

    def recall(self, summary: Mapping[str, Any]) -> None:
        """Take over the best scores of the summary that W&B's server holds, where no file could be kept."""
        self.continued = True
        for key, known in summary.items():
            if is_dev_score(key) and isinstance(known, Mapping) and "max" in known:
                self.scores[key] = {"max": known["max"], "last": known.get("last", known["max"])}

    def keep(self) -> None:
        """Replace the file: as a whole, since the process may be killed at any moment."""
        if self._file is None:
            return
        values = {"id": self.wandb_id, "next_row": self.next_row, "steps": self.steps, "scores": self.scores}
        temporary = self._file.with_suffix(f".{os.getpid()}.part")
        temporary.write_text(json.dumps(values))
        temporary.replace(self._file)

    def has(self, metrics: Mapping[str, Any]) -> bool:
        """Whether a row of this step was sent before: steps after the last checkpoint are trained twice when a run goes on."""
        kinds = kinds_of(metrics)
        return bool(kinds) and all(metrics["step"] <= self.steps.get(kind, -1) for kind in kinds)

    def take(self, row: int, metrics: dict[str, Any]) -> None:
        """Note that `row` was sent with `metrics`."""
        self.next_row = row + 1
        for kind in kinds_of(metrics):
            self.steps[kind] = metrics["step"]
        for key, score in metrics.items():
            if is_dev_score(key) and isinstance(score, int | float):
                self.add_score(key, score)
        self.keep()

    def add_score(self, key: str, score: float) -> None:
        """Make `score` the last one of `key`, and its best if it is."""
        best = self.scores.get(key, {}).get("max", math.nan)
        self.scores[key] = {"max": score if math.isnan(best) or score > best else best, "last": score}


def _read(file: Path | None) -> dict[str, Any]:
    try:
        known = json.loads(file.read_text()) if file else {}
    except (FileNotFoundError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
