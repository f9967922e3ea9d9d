"""How should texts and pairs of texts be encoded for this recipe: pooling, pair encoding and its features, heads?

`encoder.pooling` is shared by all tasks; `pooler` is among its values only where the recipe uses it, since not every encoder has such
a layer. Each task on pairs has its own `encoding.TASK`: both texts in one sequence (`cross_encoder`), or each alone, with these
features of the two embeddings: `concat`, `concat_difference_product`, and, not for classes, `cosine` and `pearson`. Each task's
`head.TASK` is `linear` or `mlp`; on one number (cosine, pearson) a regression task has `scale.TASK` instead: a learned scale and
offset (`linear`), or none (`scaled`). Tasks whose loss compares rows (contrastive, CoSENT, AnglE), and those that no phase trains, stay as they are.
"""

from collections.abc import Mapping
from typing import Any

from multitask.config import RunConfig, TaskConfig
from multitask.config.head import BiEncoder
from tune_spaces.core.parameter import Parameter
from tune_spaces.core.settings import MISSING, configured
from tune_spaces.core.settings import own_value as value_of_key

POOLINGS = ("cls", "mean", "mean_layers", "max", "attention")
VECTORS = ("cross_encoder", "concat", "concat_difference_product")
NUMBERS = ("cosine", "pearson")


def space(base: RunConfig) -> dict[str, Parameter]:
    """Pooling, and encoding and head of each task with labels."""
    from ray import tune

    poolings = [*POOLINGS, *(["pooler"] if base.encoder.pooling == "pooler" else [])]
    parameters = [Parameter("encoder.pooling", tune.choice(poolings))]
    for name in dict.fromkeys(task for index in range(len(base.phases)) for task in base.phase_tasks(index)):
        task = base.tasks[name]
        if task.compares_rows:
            continue
        when: dict[str, tuple] = {}
        if task.is_pair:
            numbers = () if task.kind.name in ("classification", "multi_label") else NUMBERS
            parameters.append(Parameter(f"encoding.{name}", tune.choice([*VECTORS, *numbers])))
            when = {f"encoding.{name}": VECTORS}
            if task.kind.name == "regression" and not _is_frozen(base, name):
                scaled = tune.choice(["linear", "scaled"])
                parameters.append(Parameter(f"scale.{name}", scaled, {f"encoding.{name}": NUMBERS}))
        parameters.append(Parameter(f"head.{name}", tune.choice(["linear", "mlp"]), when))
    return {own.name: own for own in parameters}


def to_config(base: RunConfig, values: Mapping[str, Any]) -> RunConfig:
    """The recipe with other encodings and heads; a head keeps its link and dropout."""
    changes: dict[str, Any] = {"encoder.pooling": values["encoder.pooling"]}
    for name, task in base.tasks.items():
        encoding, head = values.get(f"encoding.{name}"), values.get(f"head.{name}", values.get(f"scale.{name}"))
        if encoding is not None:
            bi_encoder = {"name": "bi_encoder", "features": encoding}
            is_cross = encoding == "cross_encoder"
            changes[f"tasks.{name}.pair_encoding"] = {"name": encoding} if is_cross else bi_encoder
        if encoding is not None or head is not None:
            changes[f"tasks.{name}.head"] = _head(task, head or "linear")
    return configured(base, changes)


def own_value(base: RunConfig, name: str) -> Any:
    """What the recipe has for a parameter of this space."""
    kind, _, task = name.partition(".")
    if task not in base.tasks:
        return value_of_key(base, name)
    own = base.tasks[task]
    if kind == "encoding":
        return own.pair_encoding.features if isinstance(own.pair_encoding, BiEncoder) else "cross_encoder"
    return own.head.name if own.head else "linear" if kind in ("head", "scale") else MISSING


def _head(task: TaskConfig, name: str) -> dict[str, Any] | None:
    own = task.head.model_dump(mode="json") if task.head else {"name": "linear"}
    if name == own["name"]:
        return own if task.head else None
    kept = {} if name == "scaled" else {key: own[key] for key in ("link", "dropout") if key in own}
    return {"name": name, **kept}


def _is_frozen(base: RunConfig, task: str) -> bool:
    """Whether a phase trains the task's head alone, which then must have weights."""
    return any(phase.encoder == "frozen" and task in base.phase_tasks(i) for i, phase in enumerate(base.phases))
