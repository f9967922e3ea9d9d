"""Which loss suits each task of this recipe?

`loss.TASK`: `cross_entropy` or `focal` for classes, `corn` and `cumulative_link` besides where they are in order; `squared_error` or `huber`
for numbers, `cosent` and `angle` besides for cosines that nothing is learned on. With them `label_smoothing.TASK`, `gamma.TASK` and
`delta.TASK`, and `class_weights.TASK`, `none` or `balanced`. Contrastive tasks, and those that no phase trains, stay as they are.
"""

from collections.abc import Mapping
from typing import Any

from multitask.config import RunConfig, TaskConfig
from multitask.config.head import BiEncoder, ScaledHead
from multitask.config.kind import Classification, Regression
from multitask.config.loss import CrossEntropy, LossConfig, SquaredError
from tune_spaces.core.parameter import Parameter
from tune_spaces.core.settings import MISSING, configured

_OPTIONS = ("label_smoothing", "class_weights", "gamma", "delta")


def space(base: RunConfig) -> dict[str, Parameter]:
    """The loss of each task with labels, and its settings."""
    from ray import tune

    parameters = []
    for name in dict.fromkeys(task for index in range(len(base.phases)) for task in base.phase_tasks(index)):
        task = base.tasks[name]
        if task.kind.name == "contrastive":
            continue
        key, losses = f"loss.{name}", _losses(base, task)
        parameters.append(Parameter(key, tune.choice(losses)))
        if isinstance(task.kind, Regression):
            wide = tune.loguniform(0.05, 0.5 * (task.kind.high - task.kind.low))
            parameters.append(Parameter(f"delta.{name}", wide, {key: ("huber",)}))
            continue
        parameters.append(Parameter(f"label_smoothing.{name}", tune.uniform(0.0, 0.2), {key: ("cross_entropy",)}))
        parameters.append(Parameter(f"gamma.{name}", tune.uniform(0.5, 5.0), {key: ("focal",)}))
        if task.kind.name != "multi_label":
            weights = tune.choice(["none", "balanced"])
            parameters.append(Parameter(f"class_weights.{name}", weights, {key: ("cross_entropy", "focal")}))
    return {own.name: own for own in parameters}


def to_config(base: RunConfig, values: Mapping[str, Any]) -> RunConfig:
    """The recipe with other losses."""
    changes: dict[str, Any] = {}
    for name, task in base.tasks.items():
        if (loss := values.get(f"loss.{name}")) is not None:
            own = {option: values[f"{option}.{name}"] for option in _OPTIONS if f"{option}.{name}" in values}
            if own.get("class_weights") == "none":
                own["class_weights"] = None
            own, known = {"name": loss, **own}, _loss(task).model_dump(mode="json")
            # As the recipe writes it, where it is the recipe's.
            if any(known.get(key, MISSING) != value for key, value in own.items()):
                changes[f"tasks.{name}.loss"] = own
    return configured(base, changes)


def own_value(base: RunConfig, name: str) -> Any:
    """What the recipe has for a parameter of this space."""
    kind, _, task = name.partition(".")
    loss = _loss(base.tasks[task])
    if kind == "loss":
        return loss.name
    value = getattr(loss, kind, MISSING)
    return "none" if value is None else MISSING if isinstance(value, tuple) else value


def _loss(task: TaskConfig) -> LossConfig:
    return task.loss or (SquaredError() if isinstance(task.kind, Regression) else CrossEntropy())


def _losses(base: RunConfig, task: TaskConfig) -> list[str]:
    if not isinstance(task.kind, Regression):
        ordered = isinstance(task.kind, Classification) and task.kind.ordered
        return ["cross_entropy", "focal", *(["corn", "cumulative_link"] if ordered else [])]
    pairs, terms = task.pair_encoding, base.regularization
    # What keeps the model smooth is added to the loss of a row, which these have not.
    by_rows = any(getattr(terms, name) is not None for name in type(terms).model_fields)
    ranked = isinstance(pairs, BiEncoder) and pairs.features == "cosine" and isinstance(task.head, ScaledHead)
    return ["squared_error", "huber", *(["cosent", "angle"] if ranked and not by_rows else [])]
