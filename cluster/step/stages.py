"""Which gradients are sent together, and when."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cluster.step.gradient_memory import WholeGradients
from multitask.work import RoundWork


@dataclass(frozen=True)
class Holders:
    """Who computes what in a step.

    `groups[rank]`: the groups in whose gradients the rank has a part, ascending; `tasks[rank]`: its tasks. `order`: the groups by when the
    last pass of each comes. `passes`: group to this rank's backward passes of it.
    """

    groups: Sequence[tuple[int, ...]]
    tasks: Sequence[tuple[str, ...]]
    order: Sequence[int]
    passes: Mapping[int, int]

    @classmethod
    def of(cls, work: RoundWork, group_of: Sequence[int]) -> "Holders":
        """The holders of a round whose task k is in group `group_of[k]`."""
        tasks = work.round.tasks
        last = {group: k for k, group in enumerate(group_of)}
        passes: Counter[int] = Counter()
        for task, group in zip(tasks, group_of, strict=True):
            passes[group] += len(work.batches.get(task, ()))
        return cls(
            groups=[tuple(sorted({group_of[k] for k in held})) for held in work.holders],
            tasks=[tuple(tasks[k] for k in held) for held in work.holders],
            order=sorted(last, key=last.__getitem__),
            passes=passes,
        )

    def sent_together(self) -> list[list[tuple[int, ...]]]:
        """Per stage and rank the groups that are sent in it: each by itself where all ranks make the same passes, else all at once."""
        if all(tasks == self.tasks[0] for tasks in self.tasks):
            return [[(group,)] * len(self.groups) for group in self.order if group in self.groups[0]]
        return [list(self.groups)]


@dataclass
class Stage:
    """What is sent together.

    `groups[rank]`: its groups; `held`: those of this rank; `left`: its passes to come; `keeps`: whether what one pass adds waits for
    another; `sent`: buckets that have left; `memory`: of what waits, once there is some.
    """

    groups: Sequence[tuple[int, ...]]
    held: tuple[int, ...]
    left: int
    keeps: bool
    sent: int = 0
    memory: WholeGradients | None = None


def stages_of(holders: Holders, rank: int) -> list[Stage]:
    """The stages of a step, in the order in which every rank sends them."""
    stages = []
    for groups in holders.sent_together():
        passes = sum(holders.passes.get(group, 0) for group in groups[rank])
        stages.append(Stage(groups, groups[rank], passes, keeps=passes > 1))
    return stages
