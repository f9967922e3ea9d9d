"""Whether the combination matters for a recipe: what its tasks' gradients do to each other, and what each method would do about it."""

from multitask.diagnosis.diagnosis import Diagnosis, diagnose
from multitask.diagnosis.probe import Start

__all__ = ["Diagnosis", "Start", "diagnose"]
