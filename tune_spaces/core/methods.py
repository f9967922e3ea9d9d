"""The sampling strategies and combinations that can be searched, by what their configs declare (`multitask.config.search`)."""

import typing
from typing import Any, Literal

from multitask.config import RunConfig
from multitask.config.base import Config
from multitask.config.sampling import PhaseConfig
from multitask.config.search import OneOf, PerTask, Range, TasksInStep, declared_ranges, needs_several_tasks

Kind = Literal["sampling", "combination"]


def method_classes(kind: Kind) -> dict[str, type[Config]]:
    """Name to config class of every method that a recipe may name."""
    owner = PhaseConfig if kind == "sampling" else RunConfig
    classes = typing.get_args(owner.model_fields[kind].annotation)
    return {own.model_fields["name"].default: own for own in classes}


def ranges_of(kind: Kind, name: str) -> dict[str, Range]:
    """Field to range of the method `name`; empty if there is none that is searched."""
    found = method_classes(kind).get(name)
    return dict(declared_ranges(found) or {}) if found else {}


def searched_methods(kind: Kind) -> list[str]:
    """Names of the methods that declare what can be searched."""
    return [name for name, own in method_classes(kind).items() if declared_ranges(own) is not None]


def compares_tasks(combination: str) -> bool:
    """Whether the combination of this name needs several tasks in a step."""
    found = method_classes("combination").get(combination)
    return found is not None and needs_several_tasks(found)


def shared_phases(base: RunConfig) -> list[int]:
    """Numbers of the phases that train several tasks."""
    return [index for index in range(len(base.phases)) if len(base.phase_tasks(index)) > 1]


def shared_tasks(base: RunConfig) -> list[str]:
    """The tasks of these phases."""
    return list(dict.fromkeys(task for index in shared_phases(base) for task in base.phase_tasks(index)))


def step_bounds(base: RunConfig, draws: bool, several: bool) -> tuple[int, int]:
    """Fewest and most tasks in a step that every phase with several tasks can have (`multitask.config.search.TasksInStep`)."""
    tasks = min(len(base.phase_tasks(index)) for index in shared_phases(base))
    most = 1 if base.optimizer.per_task else tasks
    least = 2 if several else 1
    return least, max(least, most - 1 if draws else most)


def step_parameter(draws: bool, several: bool) -> str:
    """Name of the parameter for how many tasks a step trains: ranges differ, and so do names."""
    return "sampling." + "surgery." * several + "drawn." * draws + "tasks_per_step"


STEP_PARAMETERS = tuple(step_parameter(draws, several) for draws in (False, True) for several in (False, True))


def step_field(name: str) -> tuple[str, bool] | None:
    """The field of strategy `name` that says how many tasks a step trains, and whether it draws them."""
    for field, own in ranges_of("sampling", name).items():
        if isinstance(own, TasksInStep):
            return field, own.draws
    return None


def is_of_method(kind: Kind, name: str) -> bool:
    """Whether the parameter `name` says which method there is or a field of one; inside groups a method's fields are keys as others are."""
    return name.startswith(f"{kind}.") and not name.startswith("combination.inside.")


def parameter_name(kind: Kind, name: str, field: str, task: str | None = None) -> str:
    """How the parameter for a method's field is called, or that of one task's weight."""
    if task is None:
        return f"{kind}.{name}.{field}"
    return f"{kind}.{name}.{task}" if field == name else f"{kind}.{name}.{field}.{task}"


def method_parameter_names(kind: Kind, base: RunConfig) -> list[str]:
    """Every name of a parameter that says something of the sampling, or of the combination."""
    names = [f"{kind}.name", *(STEP_PARAMETERS if kind == "sampling" else ())]
    for name, own in method_classes(kind).items():
        ranges = ranges_of(kind, name)
        for field in own.model_fields:
            if isinstance(ranges.get(field), PerTask):
                names += [parameter_name(kind, name, field, task) for task in base.tasks]
            elif field not in ("name", "inside"):
                names.append(parameter_name(kind, name, field))
    return names


def first_values(kind: Kind, name: str, base: RunConfig) -> dict[str, Any]:
    """The method with some value for each of its parameters, to try whether a recipe can be trained so."""
    values: dict[str, Any] = {f"{kind}.name": name}
    for field, own in ranges_of(kind, name).items():
        if isinstance(own, PerTask):
            values |= {parameter_name(kind, name, field, task): own.low for task in base.tasks}
        elif not isinstance(own, TasksInStep):
            values[parameter_name(kind, name, field)] = own.values[0] if isinstance(own, OneOf) else own.low
    return values
