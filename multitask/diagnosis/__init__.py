"""Whether the combination matters for a recipe: what its tasks' gradients do to each other, and what each method would do about it."""

from multitask.diagnosis.diagnosis import Diagnosis, diagnose

__all__ = ["Diagnosis", "diagnose"]
