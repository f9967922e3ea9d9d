"""Choices that cannot work together, refused in words that say what to change."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from multitask.config.combination import PCGrad, Weights
from multitask.config.kind import METRICS, Contrastive
from multitask.config.sampling import (
    DrawnByWeights,
    PhaseConfig,
    Proportional,
    ProportionalBatches,
    SamplingConfig,
    Sequential,
)
from multitask.config.search import needs_several_tasks
from multitask.config.task import ScaledHead
from multitask.config.training import LibraryOptimizer

if TYPE_CHECKING:
    from multitask.config.run import RunConfig

_MENDS = {
    "round_robin": "set {key}.sampling.tasks_per_step=all",
    "proportional": "set {key}.sampling.batches_per_step to 2 or more",
    "sequential": "use {key}.sampling.name=round_robin",
}


def check_phase(config: "RunConfig", index: int, phase: PhaseConfig) -> None:
    """Tasks, sampling and combination of a phase fit together."""
    key = f"phases.{index}"
    tasks = config.phase_tasks(index)
    if not tasks or len(set(tasks)) != len(tasks):
        raise ValueError(f"{key}.tasks must name at least one task, each once, got {list(tasks)}")
    for task in tasks:
        if task not in config.tasks:
            raise ValueError(f"{key}.tasks: there is no task {task!r}; tasks: {', '.join(config.tasks)}")
    sampling = phase.sampling
    number = getattr(sampling, "tasks_per_step", "all")
    if isinstance(number, int) and not 1 <= number <= len(tasks):
        raise ValueError(
            f"{key}.sampling.tasks_per_step must lie in 1 … {len(tasks)} (the phase's tasks), got {number}"
        )
    if isinstance(sampling, DrawnByWeights):
        _same_names(f"{key}.sampling.weights", sampling.weights, tasks)
    if isinstance(sampling, ProportionalBatches):
        for task in tasks:
            if config.tasks[task].batch_size is not None:
                raise ValueError(
                    f"tasks.{task}.batch_size is set, but {key}.sampling.name=proportional_batches sets it"
                )
    if phase.encoder == "frozen":
        for task in tasks:
            if _has_no_head(config, task):
                raise ValueError(
                    f"{key}.encoder=frozen leaves nothing to train for task {task}: its head has no weights"
                )
    one_a_step = tasks_in_one_step(sampling, len(tasks)) == 1
    if needs_several_tasks(type(config.combination)) and len(tasks) > 1 and one_a_step:
        mend = _MENDS.get(sampling.name, "set {key}.sampling.tasks_per_step to 2 or more").format(key=key)
        raise ValueError(
            f"combination.name={config.combination.name} needs several tasks in a step, but {key}.sampling trains one at a time: "
            f"{mend}, or use combination.name=sum"
        )


def check_combination(config: "RunConfig") -> None:
    """The combination names the config's tasks."""
    combination = config.combination
    if isinstance(combination, Weights):
        _same_names("combination.weights", combination.weights, config.tasks)
    if isinstance(combination, PCGrad) and combination.groups is not None:
        named = [task for group in combination.groups for task in group]
        if sorted(named) != sorted(config.tasks) or not all(combination.groups):
            raise ValueError(f"combination.groups must name every task once ({', '.join(config.tasks)}), got {named}")
        if len(combination.groups) == 1:
            raise ValueError("combination.groups has one group: there is nothing to project; use combination.name=sum")


def check_regularization(config: "RunConfig") -> None:
    """Every regularization has something to act on."""
    terms = config.regularization
    if terms.r_drop is not None and config.encoder.dropout == 0:
        raise ValueError("regularization.r_drop compares two dropout masks, but encoder.dropout is 0")
    given = [name for name in ("smart", "bregman", "r_drop") if getattr(terms, name) is not None]
    if given and all(task.kind.name == "contrastive" for task in config.tasks.values()):
        raise ValueError(f"regularization.{given[0]} acts on tasks with labels, and there is none")
    for name, task in config.tasks.items():
        if task.kind.name == "contrastive" and not task.is_pair and config.encoder.dropout == 0:
            raise ValueError(f"tasks.{name}: a text and itself differ by dropout alone, but encoder.dropout is 0")


def check_optimizer(config: "RunConfig") -> None:
    """What the optimizer is told can be done."""
    if isinstance(config.optimizer, LibraryOptimizer):
        # The library takes a second to import: only for those who use it.
        from multitask.optimization.library import check_library_optimizer

        check_library_optimizer(config.optimizer)
    if not config.optimizer.per_task:
        return
    for index, phase in enumerate(config.phases):
        if tasks_in_one_step(phase.sampling, len(config.phase_tasks(index))) > 1:
            raise ValueError(f"optimizer.per_task needs one task in a step, but phases.{index}.sampling trains several")


def check_selection(config: "RunConfig") -> None:
    """There is a score to choose the best checkpoint by."""
    if not config.selected_tasks:
        raise ValueError(
            "tasks: every task is auxiliary or contrastive; one with dev files must choose the best checkpoint"
        )
    scores = [
        f"dev/{task}/{metric}" for task in config.scored_tasks for metric in METRICS[config.tasks[task].kind.name]
    ]
    valid = ["dev/mean", *scores]
    if config.training.selection not in valid:
        raise ValueError(f"training.selection must be one of {', '.join(valid)}, got {config.training.selection!r}")


def tasks_in_one_step(sampling: SamplingConfig, tasks: int) -> int:
    """Most tasks that a step of `sampling` over so many tasks trains."""
    if isinstance(sampling, Sequential):
        return 1
    number = sampling.batches_per_step if isinstance(sampling, Proportional) else sampling.tasks_per_step
    return tasks if number == "all" else min(number, tasks)


def _has_no_head(config: "RunConfig", task: str) -> bool:
    """Whether nothing of `task` alone is trained."""
    own = config.tasks[task]
    if config.encoder.adapter.name == "projected_attention":
        return False
    contrastive = isinstance(own.kind, Contrastive) and own.kind.projection == "none"
    return contrastive or isinstance(own.head, ScaledHead)


def _same_names(key: str, given: Mapping[str, float], tasks: Mapping[str, object] | tuple[str, ...]) -> None:
    unknown, missing = [t for t in given if t not in tasks], [t for t in tasks if t not in given]
    if unknown:
        raise ValueError(f"{key}: there is no task {unknown[0]!r}; tasks: {', '.join(tasks)}")
    if missing:
        raise ValueError(f"{key}: the weight of task {missing[0]!r} is missing")
