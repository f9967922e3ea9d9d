"""How a training goes, in plain lines."""

import sys
from collections.abc import Mapping
from typing import TextIO

from multitask.trainer.result import StepResult


class ProgressLine:
    """One line that is rewritten with every step, and one that stays for every evaluation; silent if not `shown`.

    Where the output is no terminal only the evaluations are written.
    """

    def __init__(self, steps: int, *, shown: bool, file: TextIO | None = None) -> None:
        self._steps, self._shown, self._file = steps, shown, file or sys.stderr
        self._width = 0

    def step(self, step: int, result: StepResult) -> None:
        """Show a step."""
        if self._shown and self._file.isatty():
            losses = "  ".join(f"{task} {loss:.3f}" for task, loss in result.losses.items())
            self._write(f"step {step}/{self._steps}  loss {losses}", "\r")

    def evaluation(self, step: int, scores: Mapping[str, float], best: bool) -> None:
        """Show dev scores; `best`: no evaluation before was as good."""
        if self._shown:
            named = "  ".join(f"{name.removeprefix('dev/')} {score:.3f}" for name, score in scores.items())
            self._write(f"step {step}/{self._steps}  dev {named}{'  best' if best else ''}", "\n")

    def say(self, text: str) -> None:
        """Show a sentence that stays, as on how it ended."""
        if self._shown:
            self._write(text, "\n")

    def _write(self, text: str, end: str) -> None:
        print(text.ljust(self._width), end=end, file=self._file, flush=True)
        self._width = len(text) if end == "\r" else 0
