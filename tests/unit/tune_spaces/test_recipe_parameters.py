"""Methods declare what can be searched, and join the spaces by that alone."""

import typing
from collections.abc import Iterator
from typing import ClassVar, Literal, Union

import numpy as np
import pytest
from pydantic import Field

from multitask.config import RunConfig, load_recipe
from multitask.config.base import Config
from multitask.config.combination.about import About
from multitask.config.sampling import PhaseConfig
from multitask.config.search import Between, OneOf, PerTask, Ranges, TasksInStep, Whole, declared_ranges
from tune_spaces import open_space


class Stubborn(Config):
    """A combination that is registered later."""

    ABOUT: ClassVar[About] = About("losses", paper="", when="")
    SEARCH: ClassVar[Ranges] = {"strength": Between(0.1, 10, log=True), "rounds": Whole(2, 4), "trust": PerTask(0.5, 2)}
    NEEDS_SEVERAL_TASKS: ClassVar[bool] = True

    name: Literal["stubborn"] = "stubborn"
    strength: float = 1.0
    rounds: int = 2
    trust: dict[str, float]


class Curious(Config):
    """A strategy that is registered later."""

    SEARCH: ClassVar[Ranges] = {"bonus": OneOf(("small", "large")), "tasks_per_step": TasksInStep(draws=True)}

    name: Literal["curious"] = "curious"
    bonus: str = "small"
    tasks_per_step: int = Field(default=1, ge=1)


class Shy(Config):
    """A combination that declares no ranges."""

    ABOUT: ClassVar[About] = About("losses", paper="", when="")
    name: Literal["shy"] = "shy"


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The three classes in the unions that a recipe is validated by."""
    _extend(monkeypatch, RunConfig, "combination", Stubborn, Shy)
    _extend(monkeypatch, PhaseConfig, "sampling", Curious)
    RunConfig.model_rebuild(force=True)
    yield
    monkeypatch.undo()
    PhaseConfig.model_rebuild(force=True)
    RunConfig.model_rebuild(force=True)


def _extend(monkeypatch: pytest.MonkeyPatch, owner: type[Config], field: str, *classes: type[Config]) -> None:
    own = owner.model_fields[field]
    known = typing.get_args(own.annotation)
    monkeypatch.setattr(own, "annotation", Union[(*known, *classes)])
    owner.model_rebuild(force=True)


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("space", ["default", "combination"])
def test_a_combination_that_is_registered_later_joins_by_declaring_its_ranges(space: str) -> None:
    base = load_recipe("main")
    opened = open_space(space, base)
    names = opened.parameters["combination.name"].values
    assert names is not None
    assert "stubborn" in names
    assert "shy" not in names
    described = opened.describe()["parameters"]
    mine = {name: own for name, own in described.items() if name.startswith("combination.stubborn.")}
    when = {"combination.name": ["stubborn"]}
    assert mine == {
        "combination.stubborn.strength": {"kind": "float", "low": 0.1, "high": 10, "log": True, "when": when},
        "combination.stubborn.rounds": {"kind": "int", "low": 2, "high": 4, "log": False, "when": when},
        **{
            f"combination.stubborn.trust.{task}": {"kind": "float", "low": 0.5, "high": 2, "log": True, "when": when}
            for task in ("sst", "quora", "sts")
        },
    }
    assert "combination.stubborn.strength" in opened.mutable
    assert "combination.stubborn.rounds" not in opened.mutable


@pytest.mark.usefixtures("registered")
def test_a_method_that_is_registered_later_is_drawn_and_set() -> None:
    base = load_recipe("main")
    space = open_space("default", base, {"combination.name": "stubborn", "sampling.name": "curious"})
    generator = np.random.default_rng(3)
    for _ in range(20):
        sample = space.draw(generator)
        config = space.config(base, sample)
        assert isinstance(config.combination, Stubborn)
        assert isinstance(config.phases[0].sampling, Curious)
        assert config.combination.strength == sample["combination.stubborn.strength"]
        assert config.combination.rounds == sample["combination.stubborn.rounds"]
        assert sum(config.combination.trust.values()) == pytest.approx(3)
        assert config.phases[0].sampling.bonus == sample["sampling.curious.bonus"]
        assert config.phases[0].sampling.tasks_per_step == 2, "two tasks for a combination that compares them"


@pytest.mark.usefixtures("registered")
def test_its_mutable_numbers_join_the_population_of_a_recipe_that_names_it() -> None:
    base = load_recipe("main", ["combination={name: stubborn, trust: {sst: 1, quora: 1, sts: 1}}"])
    tasks = ["sst", "quora", "sts"]
    weights = [f"combination.stubborn.trust.{task}" for task in tasks]
    assert list(open_space("population", base).parameters) == [
        "optimizer.lr",
        "encoder.dropout",
        "head.dropout",
        "combination.stubborn.strength",
        *weights,
    ]


def test_nearly_every_method_declares_ranges_of_keys_that_it_has() -> None:
    silent = []
    for owner, field in ((PhaseConfig, "sampling"), (RunConfig, "combination")):
        for method in typing.get_args(owner.model_fields[field].annotation):
            ranges = declared_ranges(method)
            if ranges is None:
                silent.append(method.model_fields["name"].default)
            else:
                assert set(ranges) <= set(method.model_fields)
    assert silent == ["sequential", "mean", "scheduled", "krum", "trimmed_mean"]


def test_declarations_are_plain_data_that_configs_do_not_show() -> None:
    config = load_recipe("main", ["phases.0.sampling={name: annealed}", "combination.name=sum"])
    assert config.to_dict()["phases"][0]["sampling"] == {
        "name": "annealed",
        "tasks_per_step": 1,
        "start": 1.0,
        "end": 0.2,
    }
    assert config.to_dict()["combination"] == {"name": "sum"}
