"""From a sample's values to a config, and from a config to the values that would make it."""

from collections.abc import Mapping
from typing import Any

from multitask.config import RunConfig
from multitask.config.loading import change_config
from multitask.config.overrides import CONFIG, with_choice
from multitask.config.search import OneOf, PerTask
from multitask.errors import UserError
from tune_spaces.core.methods import (
    STEP_PARAMETERS,
    Kind,
    compares_tasks,
    is_of_method,
    method_classes,
    parameter_name,
    ranges_of,
    shared_phases,
    step_bounds,
    step_field,
    step_parameter,
)

MISSING = object()
_SAMPLING = CONFIG.below({}, "phases").below([], "0").below({}, "sampling")


def configured(base: RunConfig, values: Mapping[str, Any]) -> RunConfig:
    """`base` with `values`: names of parameters to values.

    `sampling.…` is set in every phase that trains several tasks, `combination.…` once; of a method that the recipe names
    already, other keys stay. How many tasks a step trains follows the combination where no parameter says it. Everything
    else is a dotted key of the config, set as KEY=VALUE on the command line would set it.

    Raises:
        UserError: no run can be trained so.
    """
    sampling = any(is_of_method("sampling", name) for name in values)
    combination = any(is_of_method("combination", name) for name in values)
    changes: dict[str, Any] = {}
    if combination:
        changes["combination"] = own = _combination(base, values)
        about = method_classes("combination")[own["name"]].ABOUT  # type: ignore[attr-defined]
        if about.gradients == "one":
            # There are no gradients of tasks to look at.
            changes["training.layer_conflicts_every"] = None
        if not about.weighs_before:
            changes["training.check_every"] = 1
    if sampling:
        for index in shared_phases(base):
            changes[f"phases.{index}.sampling"] = _sampling(base, index, values)
    plain = {
        name: value
        for name, value in values.items()
        if not (is_of_method("sampling", name) or is_of_method("combination", name))
    }
    if base.head.dropout is None and plain.get("head.dropout") == plain.get("encoder.dropout", base.encoder.dropout):
        # As the recipes write it.
        plain["head.dropout"] = None
    try:
        return change_config(base, changes | plain, "sample")
    except UserError as error:
        raise UserError("; ".join(line.removeprefix("sample: ") for line in str(error).splitlines())) from None


def own_value(base: RunConfig, name: str) -> Any:
    """What `base` itself has for the parameter `name`, or `MISSING`."""
    if is_of_method("sampling", name):
        phases = shared_phases(base)
        return _own_sampling(base, phases[0]).get(name, MISSING) if phases else MISSING
    if is_of_method("combination", name):
        return _own_fields("combination", base.combination.model_dump(mode="json"), base).get(name, MISSING)
    if name == "head.dropout" and base.head.dropout is None:
        return base.encoder.dropout
    node: Any = base.to_dict()
    for part in name.split("."):
        if isinstance(node, dict) and part in node:
            node = node[part]
        elif isinstance(node, list) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        else:
            return MISSING
    return node


def _combination(base: RunConfig, values: Mapping[str, Any]) -> dict[str, Any]:
    own = base.combination.model_dump(mode="json")
    name = values.get("combination.name", own["name"])
    start = with_choice(own, CONFIG.below({}, "combination"), name)
    return start | _fields("combination", name, values, start, tuple(base.tasks))


def _sampling(base: RunConfig, index: int, values: Mapping[str, Any]) -> dict[str, Any]:
    own = base.phases[index].sampling.model_dump(mode="json")
    name = values.get("sampling.name", own["name"])
    start = with_choice(own, _SAMPLING, name)
    tasks = base.phase_tasks(index)
    tree = start | _fields("sampling", name, values, start, tasks)
    if (step := step_field(name)) is None or parameter_name("sampling", name, step[0]) in values:
        return tree
    field, draws = step
    several = compares_tasks(values.get("combination.name", base.combination.name))
    low, high = step_bounds(base, draws, several)
    asked = next((values[key] for key in STEP_PARAMETERS if key in values), None)
    before = len(tasks) if tree.get(field) == "all" else tree.get(field)
    if asked is None:
        usual = low if draws else high
        asked = min(max(before, low), high) if isinstance(before, int) else usual
    if asked != before:
        takes_all = method_classes("sampling")[name].model_fields[field].default == "all"
        tree[field] = "all" if takes_all and asked == len(tasks) else asked
    return tree


def _fields(
    kind: Kind, name: str, values: Mapping[str, Any], start: Mapping[str, Any], tasks: tuple[str, ...]
) -> dict[str, Any]:
    """The method's own fields as `values` has them; weights are scaled to a mean of 1, a task without one has 1."""
    fields: dict[str, Any] = {}
    ranges = ranges_of(kind, name)
    for field in method_classes(kind)[name].model_fields if name in method_classes(kind) else ():
        own = ranges.get(field)
        if isinstance(own, PerTask):
            names = {parameter_name(kind, name, field, task): task for task in tasks}
            given = {names[key]: weight for key, weight in values.items() if key in names}
            if given:
                fields[field] = dict.fromkeys(tasks, 1.0) | start.get(field, {}) | _scaled(given)
        elif (parameter := parameter_name(kind, name, field)) in values:
            fields[field] = values[parameter]
        elif isinstance(own, OneOf) and len(own.values) == 1:
            fields[field] = own.values[0]
    return fields


def _scaled(weights: Mapping[str, float]) -> dict[str, float]:
    """The weights over their mean; as they are if one is not right, so that it is refused in the user's own figures."""
    mean = sum(weights.values()) / len(weights)
    return {task: weight / mean if min(weights.values()) >= 0 < mean else weight for task, weight in weights.items()}


def _own_sampling(base: RunConfig, index: int) -> dict[str, Any]:
    own = base.phases[index].sampling.model_dump(mode="json")
    values = _own_fields("sampling", own, base)
    if (step := step_field(own["name"])) is not None:
        number = own[step[0]]
        number = len(base.phase_tasks(index)) if number == "all" else number
        values |= {step_parameter(step[1], several): number for several in (False, True)}
    return values


def _own_fields(kind: Kind, own: Mapping[str, Any], base: RunConfig) -> dict[str, Any]:
    values: dict[str, Any] = {f"{kind}.name": own["name"]}
    for field, value in own.items():
        if isinstance(ranges_of(kind, own["name"]).get(field), PerTask):
            values |= {parameter_name(kind, own["name"], field, task): weight for task, weight in value.items()}
        elif field != "name":
            values[parameter_name(kind, own["name"], field)] = value
    return values
