"""Choices that cannot work together, refused in words that say what to change."""

from collections.abc import Mapping, Sequence, Set

from multitask.config.combination import PCD, BetweenGroups, CombinationConfig, GradientMethod
from multitask.config.combination.inside import check_inside, check_number
from multitask.config.data import DataConfig
from multitask.config.head import ScaledHead
from multitask.config.kind import Contrastive
from multitask.config.model import EncoderConfig
from multitask.config.regularization import RegularizationConfig
from multitask.config.sampling import (
    DrawnByWeights,
    PhaseConfig,
    Proportional,
    SamplingConfig,
    ScaledBatchSizes,
    Sequential,
)
from multitask.config.search import needs_several_tasks
from multitask.config.task import TaskConfig
from multitask.config.training import LibraryOptimizer, OptimizerConfig, Precision, TrainingConfig

_MENDS = {
    "round_robin": "set {key}.sampling.tasks_per_step=all",
    "proportional": "set {key}.sampling.merged_batches to 2 or more",
    "sequential": "use {key}.sampling.name=round_robin",
}


def check_phase(key: str, phase: PhaseConfig, tasks: Mapping[str, TaskConfig], encoder: EncoderConfig) -> None:
    """The phase at `key` names tasks that there are, and its sampling can serve them."""
    names, sampling = phase.tasks_among(tasks), phase.sampling
    if not names or len(set(names)) != len(names):
        raise ValueError(f"{key}.tasks must name at least one task, each once, got {list(names)}")
    for task in names:
        if task not in tasks:
            raise ValueError(f"{key}.tasks: there is no task {task!r}; tasks: {', '.join(tasks)}")
    number = getattr(sampling, "tasks_per_step", "all")
    if isinstance(number, int) and not 1 <= number <= len(names):
        raise ValueError(
            f"{key}.sampling.tasks_per_step must lie in 1 … {len(names)} (the phase's tasks), got {number}"
        )
    if isinstance(sampling, DrawnByWeights):
        _same_names(f"{key}.sampling.draw_weights", sampling.draw_weights, names)
    for task in names:
        if isinstance(sampling, ScaledBatchSizes) and tasks[task].batch_size is not None:
            raise ValueError(f"tasks.{task}.batch_size is set, but {key}.sampling.name=scaled_batch_sizes sets it")
        if phase.encoder == "frozen" and _has_no_head(tasks[task], encoder):
            raise ValueError(f"{key}.encoder=frozen leaves nothing to train for task {task}: its head has no weights")


def check_tasks_in_step(
    key: str, phase: PhaseConfig, tasks: Mapping[str, TaskConfig], combination: CombinationConfig
) -> None:
    """The phase at `key` trains several tasks in a step if the combination compares them."""
    number = len(phase.tasks_among(tasks))
    trained = tasks_in_one_step(phase.sampling, number)
    if isinstance(combination, GradientMethod) and 1 < trained < combination.least_gradients:
        bound = combination.BOUND_BY
        raise ValueError(
            f"combination.{bound}={getattr(combination, bound)} takes {combination.least_gradients} gradients or more, but "
            f"{key} trains {trained} tasks in a step"
        )
    if needs_several_tasks(type(combination)) and number > 1 and trained == 1:
        mend = _MENDS.get(phase.sampling.name, "set {key}.sampling.tasks_per_step to 2 or more").format(key=key)
        raise ValueError(
            f"combination.name={combination.name} needs several tasks in a step, but {key}.sampling trains one at a time: "
            f"{mend}, or use combination.name=sum"
        )


def check_combination(combination: CombinationConfig, tasks: Mapping[str, TaskConfig]) -> None:
    """The combination names the config's tasks."""
    _check_names("combination", combination, tasks)
    if isinstance(combination, GradientMethod) and combination.groups is not None:
        named = [task for group in combination.groups for task in group]
        if sorted(named) != sorted(tasks) or not all(combination.groups):
            raise ValueError(f"combination.groups must name every task once ({', '.join(tasks)}), got {named}")
        if len(combination.groups) == 1:
            raise ValueError("combination.groups has one group: there is nothing to compare; use combination.name=sum")
    if isinstance(combination, GradientMethod):
        check_number("combination", combination, len(combination.groups or tasks))
    if isinstance(combination, BetweenGroups) and combination.inside is not None:
        check_inside(combination, combination.inside)
        _check_names("combination.inside", combination.inside, tasks)


def _check_names(key: str, combination: CombinationConfig, tasks: Mapping[str, TaskConfig]) -> None:
    for field in ("loss_weights", "start", "end", "preference"):
        if isinstance(given := getattr(combination, field, None), dict):
            _same_names(f"{key}.{field}", given, tasks)
    if isinstance(combination, PCD) and combination.primary not in tasks:
        raise ValueError(f"{key}.primary must be one of {', '.join(tasks)}, got {combination.primary!r}")


def check_layer_conflicts(training: TrainingConfig, combination: CombinationConfig) -> None:
    """There are gradients of tasks to be looked at in each layer."""
    if training.layer_conflicts_every is not None and combination.ABOUT.gradients == "one":
        raise ValueError(
            f"training.layer_conflicts_every compares the tasks' gradients, but combination.name={combination.name} keeps one of all "
            "tasks: use one such as pcgrad, or look once with concord diagnose"
        )


def check_looks(training: TrainingConfig, combination: CombinationConfig, precision: Precision) -> None:
    """Nothing of a step has to be known before the next one if the host does not look at each."""
    if training.check_every == 1:
        return
    key = f"training.check_every={training.check_every}"
    if not combination.ABOUT.weighs_before:
        raise ValueError(
            f"{key} needs weights that do not depend on what a step finds, but combination.name={combination.name} reads losses or gradients "
            "of each: set training.check_every=1, or use one such as sum"
        )
    if precision == "fp16":
        raise ValueError(f"{key}: in precision=fp16 each step may overflow and be left out: set training.check_every=1")


def check_regularization(
    terms: RegularizationConfig, tasks: Mapping[str, TaskConfig], *, drops_encoder: bool, dropping: Set[str]
) -> None:
    """Every regularization has something to act on; `dropping`: the tasks in which encoder or head drop anything."""
    given = [name for name in ("smart", "bregman", "r_drop") if getattr(terms, name) is not None]
    if given and all(task.kind.name == "contrastive" for task in tasks.values()):
        raise ValueError(f"regularization.{given[0]} acts on tasks with labels, and there is none")
    for name, task in tasks.items():
        if given and task.loss is not None and task.compares_rows:
            raise ValueError(
                f"regularization.{given[0]} is added to the loss of each row, but tasks.{name}.loss.name={task.loss.name} "
                "compares rows"
            )
        if terms.r_drop is not None and task.kind.name != "contrastive" and name not in dropping:
            raise ValueError(
                "regularization.r_drop compares two dropout masks, but encoder.dropout is 0"
                f" and nothing is dropped in the head of task {name}"
            )
        if task.kind.name == "contrastive" and not task.is_pair and not drops_encoder:
            raise ValueError(f"tasks.{name}: a text and itself differ by dropout alone, but encoder.dropout is 0")


def check_batch_sizes(tasks: Mapping[str, TaskConfig], default: int) -> None:
    """Rows that are compared with each other are not alone; `default`: the batch size of a task that names none."""
    for name, task in tasks.items():
        if (task.batch_size or default) < task.least_rows:
            key = "data.batch_size" if task.batch_size is None else f"tasks.{name}.batch_size"
            raise ValueError(f"{key}: task {name} compares the rows of a batch and needs 2 or more, got 1")


def check_optimizer(optimizer: OptimizerConfig, phases: Sequence[PhaseConfig], tasks: Mapping[str, TaskConfig]) -> None:
    """What the optimizer is told can be done."""
    if isinstance(optimizer, LibraryOptimizer):
        # The library takes a second to import: only for those who use it.
        from multitask.optimization.library import check_library_optimizer

        check_library_optimizer(optimizer)
    if not optimizer.per_task:
        return
    for index, phase in enumerate(phases):
        if tasks_in_one_step(phase.sampling, len(phase.tasks_among(tasks))) > 1:
            raise ValueError(f"optimizer.per_task needs one task in a step, but phases.{index}.sampling trains several")


def check_micro_batches(training: TrainingConfig, data: DataConfig) -> None:
    """A sequence fits into a micro-batch."""
    most = training.max_tokens_per_micro_batch
    if most is not None and most < data.max_length:
        raise ValueError(
            f"training.max_tokens_per_micro_batch must be data.max_length={data.max_length} or more, the tokens of one sequence, "
            f"got {most}"
        )


def check_selection(selection: str, tasks: Mapping[str, TaskConfig]) -> None:
    """There is a score to choose the best checkpoint by."""
    scored = {name: task for name, task in tasks.items() if task.is_scored}
    if all(task.auxiliary for task in scored.values()):
        raise ValueError(
            "tasks: every task is auxiliary or contrastive; one with dev files must choose the best checkpoint"
        )
    valid = score_names(tasks)
    if selection not in valid:
        raise ValueError(f"training.selection must be one of {', '.join(valid)}, got {selection!r}")


def score_names(tasks: Mapping[str, TaskConfig]) -> tuple[str, ...]:
    """The scores that an evaluation gives: the mean, those of the tasks' first dev sets, and those of further ones."""
    first = [f"dev/{name}/{metric}" for name, task in tasks.items() if task.is_scored for metric in task.metrics]
    further = [
        f"{split}/{name}/{metric}"
        for name, task in tasks.items()
        for split in task.dev_sets
        if split != "dev"
        for metric in task.metrics
    ]
    return ("dev/mean", *first, *further)


def check_train_scores(training: TrainingConfig, tasks: Mapping[str, TaskConfig]) -> None:
    """Scores of training rows have names of their own among what is told of training."""
    taken = [name for name in ("loss", "regularization", "share") if name in tasks]
    if training.score_train_rows is not None and taken:
        raise ValueError(
            f"training.score_train_rows: train/{taken[0]}/… is told of every task, so no task may be called {taken[0]!r}"
        )


def tasks_in_one_step(sampling: SamplingConfig, tasks: int) -> int:
    """Most tasks that a step of `sampling` over so many tasks trains."""
    if isinstance(sampling, Sequential):
        return 1
    number = sampling.merged_batches if isinstance(sampling, Proportional) else sampling.tasks_per_step
    return tasks if number == "all" else min(number, tasks)


def _has_no_head(task: TaskConfig, encoder: EncoderConfig) -> bool:
    """Whether nothing of `task` alone is trained."""
    if encoder.adapter.name == "projected_attention":
        return False
    contrastive = isinstance(task.kind, Contrastive) and task.kind.projection == "none"
    return contrastive or isinstance(task.head, ScaledHead)


def _same_names(key: str, given: Mapping[str, float], tasks: Mapping[str, object] | tuple[str, ...]) -> None:
    unknown, missing = [t for t in given if t not in tasks], [t for t in tasks if t not in given]
    if unknown:
        raise ValueError(f"{key}: there is no task {unknown[0]!r}; tasks: {', '.join(tasks)}")
    if missing:
        raise ValueError(f"{key}: the weight of task {missing[0]!r} is missing")
