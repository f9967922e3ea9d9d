"""A full pass over each task in turn."""

from multitask.config.sampling import Sequential
from multitask.sampling.strategy import Plan, Strategy


class SequentialStrategy(Strategy):
    """Every batch of the first task, then every batch of the second, …; one task in each step."""

    def __init__(self, config: Sequential, plan: Plan) -> None:
        self.batches = plan.batches

    @property
    def slots_per_epoch(self) -> int:
        return sum(self.batches.values())

    @property
    def slots_per_step(self) -> int:
        return 1

    def slot(self, q: int) -> tuple[str, int]:
        epoch, position = divmod(q, self.slots_per_epoch)
        for task, number in self.batches.items():
            if position < number:
                return task, epoch * number + position
            position -= number
        raise AssertionError("a position lies within its epoch")
