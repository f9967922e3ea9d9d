"""The plain trainer: one process, torch only; what the distributed step must equal."""

from multitask.trainer.trained import Trained
from multitask.trainer.trainer import train

__all__ = ["Trained", "train"]
