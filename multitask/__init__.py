"""What is learned: tasks, data, model, sampling, loss combination, evaluation, recipes.

Usable alone, in one process or a notebook; imports neither Ray nor DeepSpeed nor Weights & Biases.

    predictor = multitask.load("runs/demo/export")
    predictor.predict("sts", [("A man plays a guitar.", "Someone makes music.")])
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multitask.export import Predictor


def load(path: str | Path, device: str | None = None) -> "Predictor":
    """Open an exported model; see `multitask.export.Predictor`.

    Raises:
        multitask.errors.UserError: there is no export, or its files are not as they were written.
    """
    from multitask.export import load_export

    return load_export(Path(path), device)
