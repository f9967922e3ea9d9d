"""Which task trains when: pure functions of the step.

A strategy lays the batches of a phase's tasks out in one endless stream of slots. Step s takes the next slots of
it, so every rank computes the same round, and resuming is arithmetic.
"""

from multitask.sampling.proportional import ProportionalStrategy
from multitask.sampling.round_robin import RoundRobinStrategy
from multitask.sampling.schedule import Round, Schedule, TaskBatch
from multitask.sampling.sequential import SequentialStrategy
from multitask.sampling.split import split_round

__all__ = [
    "ProportionalStrategy",
    "Round",
    "RoundRobinStrategy",
    "Schedule",
    "SequentialStrategy",
    "TaskBatch",
    "split_round",
]
