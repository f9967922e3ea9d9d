"""What is learned: tasks, data, model, sampling, loss combination, evaluation, recipes.

Usable alone, in one process or a notebook; imports neither Ray nor DeepSpeed nor Weights & Biases.

    config = multitask.load_recipe("demo", ["+sample"])
    trained = multitask.train(config)
    trained.scores["dev/mean"]
    trained.export("exported")

    predictor = multitask.load("exported")
    predictor.predict("sts", [("A man plays a guitar.", "Someone makes music.")])
"""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multitask.config import load_recipe
    from multitask.errors import UserError
    from multitask.export import Predictor
    from multitask.trainer import Trained, train

# Opened at their first use: importing torch takes seconds.
_FOUND_IN = {
    "Trained": "multitask.trainer",
    "UserError": "multitask.errors",
    "load_recipe": "multitask.config",
    "train": "multitask.trainer",
}

__all__ = ["Trained", "UserError", "load", "load_recipe", "train"]


def __getattr__(name: str) -> Any:
    if name not in _FOUND_IN:
        raise AttributeError(f"module 'multitask' has no attribute {name!r}")
    return getattr(importlib.import_module(_FOUND_IN[name]), name)


def load(path: str | Path, device: str | None = None) -> "Predictor":
    """Open an exported model; see `multitask.export.Predictor`.

    Raises:
        multitask.errors.UserError: there is no export, or its files are not as they were written.
    """
    from multitask.export import load_export

    return load_export(Path(path), device)
