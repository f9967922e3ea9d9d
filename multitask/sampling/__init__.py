"""Which task trains when: pure functions of the step.

A strategy lays the batches of a phase's tasks out in one endless stream of slots. Step s takes the next slots of
it, so every rank computes the same round, and resuming is arithmetic.
"""

from multitask.sampling.drawn import task_probabilities
from multitask.sampling.schedule import Round, Schedule, TaskBatch
from multitask.sampling.sizes import TaskSize, task_sizes
from multitask.sampling.split import split_round

__all__ = ["Round", "Schedule", "TaskBatch", "TaskSize", "split_round", "task_probabilities", "task_sizes"]
