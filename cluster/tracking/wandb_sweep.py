"""A space as a W&B sweep, for those whose searches are driven by W&B's own agents."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from cluster.sweeps.plan import Budget, measure_budget
from cluster.sweeps.records import Options
from cluster.sweeps.search import open_search
from multitask.config import RunConfig
from multitask.config.messages import valid_names
from multitask.errors import UserError
from tune_spaces import Parameter, Space, open_space

METHODS = ("bayes", "random", "grid")
EVALUATIONS = Options(trials=1).evaluations


def make_definition(recipe: str, changes: Sequence[str], spec: str, method: str) -> tuple[dict[str, Any], str]:
    """What `sweep.yaml` holds, and the W&B project of the recipe. All of its runs train as many rows as the recipe, whose data are
    read for that.

    Raises:
        UserError: there is no such recipe, space or method, or a change or the data are not right.
    """
    from multitask.data import prepare_tables

    search = open_search(recipe, changes, spec)
    definition = sweep_definition(search.space, recipe, spec, method=method)
    every = open_space(spec, search.base).parameters
    held = {key for name in search.fixed for key in (name, every[name].key)}
    rest = [change for change in changes if change.partition("=")[0] not in held]
    # A name of its own for every run: the same name would go on with the run before it.
    name = f"name={search.base.name}-${{envvar:WANDB_RUN_ID}}"
    place = definition["command"].index(recipe) + 1
    rows = equal_rows(search.base, measure_budget(search.base, prepare_tables(search.base), EVALUATIONS))
    definition["command"][place:place] = [name, *rest, *rows]
    return definition, search.base.tracking.project


def equal_rows(base: RunConfig, budget: Budget) -> list[str]:
    """The changes of the recipe by which it trains and evaluates by rows: as much with every sampling strategy and batch size."""
    changes = []
    for number, (phase, rows) in enumerate(zip(base.phases, budget.phase_rows, strict=True)):
        changes += [f"phases.{number}.steps_per_epoch=null"] if phase.steps_per_epoch is not None else []
        changes.append(f"phases.{number}.rows_per_epoch={rows}")
    changes += ["training.evaluate_every=null"] if base.training.evaluate_every is not None else []
    return [*changes, f"training.evaluate_rows={budget.unit}"]


def write_definition(definition: dict[str, Any], output: Path) -> None:
    """Write `sweep.yaml`.

    Raises:
        UserError: it cannot be written.
    """
    try:
        output.write_text(yaml.safe_dump(definition, sort_keys=False, allow_unicode=True), encoding="utf-8")
    except OSError as error:
        raise UserError(f"--output: {output} cannot be written: {error.strerror}") from None


def sweep_definition(
    space: Space,
    recipe: str,
    spec: str,
    *,
    metric: str = "dev/mean",
    method: str = "bayes",
    stop_after: int | None = None,
) -> dict[str, Any]:
    """What a `sweep.yaml` of W&B holds: plain values.

    An agent runs `concord train RECIPE --space SPEC --sample {…}` for each of its samples. W&B knows no conditions, so a sample
    has every parameter, fixed ones as constants, and those that are inactive in it are passed over. Nor does it know constraints: a run whose
    sample they exclude fails. `stop_after`: evaluations after which W&B may stop a bad run (Hyperband); never if not given.

    Raises:
        UserError: there is no such method, `grid` meets values without number, or a fixed value lies outside of its range.
    """
    if method not in METHODS:
        raise UserError(f"a W&B sweep has no method {method!r}; {valid_names(method, METHODS)}")
    options = ["--space", spec, "--sample", "${args_json}"]
    definition: dict[str, Any] = {
        "name": f"{Path(recipe).stem}-{space.name}",
        "description": space.about,
        "program": "concord",
        "command": ["${env}", "concord", "train", recipe, *options],
        "method": method,
        "metric": {"name": metric, "goal": "maximize"},
        "parameters": _constants(space) | {n: _parameter(space, own, method) for n, own in space.parameters.items()},
    }
    if stop_after is not None:
        definition["early_terminate"] = {"type": "hyperband", "min_iter": stop_after}
    return definition


def _constants(space: Space) -> dict[str, Any]:
    """What is fixed, which a trial's own space, where nothing is, must be able to express."""
    for name, value in space.fixed.items():
        if not space.everything[name].contains(value):
            raise UserError(
                f"space {space.spec}: a W&B sweep can hold {name} within its range ({space.everything[name]}), got {value!r}"
            )
    return {name: {"value": value} for name, value in space.fixed.items()}


def _parameter(space: Space, own: Parameter, method: str) -> dict[str, Any]:
    if own.kind == "choice" or (method == "grid" and own.kind == "int"):
        return {"values": own.values}
    if method == "grid":
        raise UserError(
            f"space {space.spec}: {own.name} ({own}) has values without number, a grid needs choices: "
            f"fix it by {own.name}=VALUE, or use another method"
        )
    if own.kind == "int":
        # W&B has no whole numbers with a log scale; steps of 1 are the nearest.
        whole = {"distribution": "q_log_uniform_values", "q": 1} if own.log else {"distribution": "int_uniform"}
        return {**whole, "min": own.low, "max": own.high}
    return {"distribution": "log_uniform_values" if own.log else "uniform", "min": own.low, "max": own.high}
