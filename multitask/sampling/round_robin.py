"""The tasks in turn, small sets starting again."""

from multitask.config.consistency import tasks_in_one_step
from multitask.config.sampling import RoundRobin, ScaledBatchSizes
from multitask.sampling.strategy import Plan, Strategy


class RoundRobinStrategy(Strategy):
    """Task 0, 1, …, K − 1, 0, 1, …; an epoch ends when the task with the most batches is through."""

    def __init__(self, config: RoundRobin | ScaledBatchSizes, plan: Plan) -> None:
        self.batches = plan.batches
        self.tasks = tuple(self.batches)
        self._per_step = tasks_in_one_step(config, len(self.tasks))

    @property
    def slots_per_epoch(self) -> int:
        return len(self.tasks) * max(self.batches.values())

    @property
    def slots_per_step(self) -> int:
        return self._per_step

    def slot(self, q: int) -> tuple[str, int]:
        turn, place = divmod(q, len(self.tasks))
        return self.tasks[place], turn
