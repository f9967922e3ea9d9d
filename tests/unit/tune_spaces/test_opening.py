"""What a user may call a space: a shipped name, a YAML file, a function."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multitask.config import RunConfig, load_recipe
from multitask.config.sampling import Annealed
from multitask.errors import UserError
from tune_spaces import check_space, open_space

AWKWARD = "tests.unit.tune_spaces.awkward_spaces"


@pytest.fixture(scope="module")
def base() -> RunConfig:
    return load_recipe("main")


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def written(text: str) -> str:
        (tmp_path / "own.yaml").write_text(text, encoding="utf-8")
        return str(tmp_path / "own.yaml")

    return written


def test_a_space_in_yaml(base: RunConfig, write: Any) -> None:
    space = open_space(
        write(
            """
about: Which rate goes with which sampling?
parameters:
  sampling.annealed.start: {uniform: [0.5, 1], when: {sampling.name: [annealed]}}
  optimizer.lr: {loguniform: [1e-5, 1e-3]}
  training.clip_norm: {choice: [null, 0.5]}
  phases.0.epochs: {randint: [1, 3], when: {combination.name: [pcgrad]}}
  data.batch_size: {lograndint: [8, 64], when: {combination.name: sum}}
  sampling.name: {choice: [round_robin, annealed]}
points:
  - {optimizer.lr: 1e-4, training.clip_norm: null, phases.0.epochs: 3, sampling.name: round_robin}
mutable: [optimizer.lr]
"""
        ),
        base,
    )
    check_space(space, base)
    assert (space.name, space.about) == ("own", "Which rate goes with which sampling?")
    described = space.describe()["parameters"]
    assert described["phases.0.epochs"] == {
        "kind": "int",
        "low": 1,
        "high": 3,
        "log": False,
        "when": {"combination.name": ["pcgrad"]},
    }
    assert described["optimizer.lr"] == {"kind": "float", "low": 1e-5, "high": 1e-3, "log": True, "when": {}}
    assert "data.batch_size" not in described, "the recipe combines by surgery, and nothing searches it"
    assert list(described).index("sampling.name") < list(described).index("sampling.annealed.start")
    assert space.mutable == ("optimizer.lr",)
    assert space.points[0]["phases.0.epochs"] == 3
    seen = set()
    generator = np.random.default_rng(0)
    for sample in (space.draw(generator) for _ in range(100)):
        config = space.config(base, sample)
        assert config.phases[0].epochs == sample["phases.0.epochs"]
        assert config.training.clip_norm == sample["training.clip_norm"]
        own = config.phases[0].sampling
        assert own.name == sample["sampling.name"]
        if isinstance(own, Annealed):
            assert (own.start, own.end) == (sample["sampling.annealed.start"], 0.2)
            assert own.tasks_per_step == 2, "the fewest that surgery has something to do with"
        seen |= {config.phases[0].epochs, config.training.clip_norm, own.name}
    assert seen == {1, 2, 3, None, 0.5, "round_robin", "annealed"}


EXCLUDING = """
parameters:
  optimizer.lr: {loguniform: [1e-5, 1e-1]}
  encoder.pooling: {choice: [cls, mean, attention]}
  sampling.name: {choice: [round_robin, annealed]}
  sampling.annealed.start: {uniform: [0.5, 1], when: {sampling.name: annealed}}
exclude:
  - {optimizer.lr: {above: 1e-3}}
  - {encoder.pooling: [cls, attention], optimizer.lr: {above: 1e-4, below: 5e-4}}
  - {sampling.annealed.start: {below: 0.75}, encoder.pooling: mean}
"""


def test_a_space_over_what_is_inside_groups(write: Any) -> None:
    groups = "combination={name: pcgrad, groups: [[sst, sts], [quora]], inside: {name: cagrad}}"
    base = load_recipe("main", [groups])
    text = "parameters: {combination.name: {choice: [pcgrad, mgda]}, combination.inside.c: {uniform: [0.1, 0.9]}}"
    space = open_space(write(text), base)
    check_space(space, base)
    assert space.sample_of(base) == {"combination.name": "pcgrad", "combination.inside.c": 0.4}
    own = space.config(base, {"combination.name": "mgda", "combination.inside.c": 0.7}).combination.model_dump()
    assert (own["name"], own["inside"]["name"], own["inside"]["c"]) == ("mgda", "cagrad", 0.7)


def test_what_a_space_in_yaml_excludes_is_never_drawn(base: RunConfig, write: Any) -> None:
    space = open_space(write(EXCLUDING), base)
    check_space(space, base)
    generator = np.random.default_rng(0)
    samples = [space.draw(generator) for _ in range(400)]
    assert max(own["optimizer.lr"] for own in samples) <= 1e-3
    amid = [own["encoder.pooling"] for own in samples if 1e-4 < own["optimizer.lr"] < 5e-4]
    assert set(amid) == {"mean"}
    assert {own["sampling.name"] for own in samples if own["encoder.pooling"] == "mean"} == {"round_robin", "annealed"}
    assert all(own.get("sampling.annealed.start", 1) >= 0.75 for own in samples if own["encoder.pooling"] == "mean")
    assert any(own.get("sampling.annealed.start", 1) < 0.75 for own in samples)
    with pytest.raises(UserError, match=r"does not allow optimizer\.lr=0\.01"):
        space.config(base, {"optimizer.lr": 0.01, "encoder.pooling": "mean", "sampling.name": "round_robin"})
    other = open_space(write(EXCLUDING.replace("1e-3}}", "2e-3}}")), base)
    assert other.describe()["identity"] != space.describe()["identity"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("parameters: [", r"own\.yaml: not valid YAML: .*line 1"),
        ("- 1", r"own\.yaml: must be a mapping of keys to values"),
        ("about: nothing", r"own\.yaml: parameters is missing"),
        ("parameters: {}", r"own\.yaml: parameters: .*at least 1 element"),
        ("parameter: {}", r"own\.yaml: unknown key 'parameter'.*did you mean 'parameters'"),
        (
            "parameters: {optimizer.lr: {unifrom: [0, 1]}}",
            r"own\.yaml: unknown key 'parameters\.optimizer\.lr\.unifrom'; valid: .*did you mean 'uniform'",
        ),
        ("parameters: {optimizer.lr: 3}", r"own\.yaml: parameters\.optimizer\.lr: must be a range such as .*got 3"),
        (
            "parameters: {optimizer.lr: {uniform: [0, 1], choice: [1]}}",
            r"parameters\.optimizer\.lr: give one of .*got uniform, choice",
        ),
        ("parameters: {optimizer.lr: {when: {a: b}}}", r"parameters\.optimizer\.lr: give one of .*got none"),
        (
            "parameters: {optimizer.lr: {uniform: [1, 0]}}",
            r"optimizer\.lr\.uniform: the first must be below the second, got \[1, 0\]",
        ),
        ("parameters: {optimizer.lr: {uniform: [1]}}", r"optimizer\.lr\.uniform: must be \[LOW, HIGH\], got \[1\]"),
        (
            "parameters: {optimizer.lr: {uniform: [0, .inf]}}",
            r"optimizer\.lr\.uniform\.1: must be a finite number, got inf",
        ),
        ("parameters: {optimizer.lr: {loguniform: [0, 1]}}", r"lr\.loguniform: both must be above 0, got \[0, 1\]"),
        ("parameters: {phases.0.epochs: {randint: [1, 2.5]}}", r"randint\.1: must be a whole number, got 2\.5"),
        (
            "parameters: {encoder.pooling: {choice: [[mean]]}}",
            r"pooling\.choice\.0: must be a text, a number, .* got \[\'mean\'\]",
        ),
        ("parameters: {encoder.pooling: {choice: mean}}", r"pooling\.choice: must be a list, got 'mean'"),
        ("parameters: {encoder.pooling: {choice: [cls, cls]}}", r"own\.yaml: .*names each value once"),
        (
            "parameters: {sampling.anneald.start: {uniform: [0, 1]}}",
            r"parameters\.sampling\.anneald\.start: .*did you mean 'sampling\.annealed\.start'",
        ),
        (
            "parameters: {sampling.name: {choice: [annealed]}, data.batch_size: {randint: [1, 9], when: {sampling.name: [anneal]}}}",
            r"data\.batch_size: when\.sampling\.name names 'anneal', which is never chosen.*did you mean 'annealed'",
        ),
        (
            "parameters: {data.batch_size: {randint: [1, 9], when: {sampler: [a]}}}",
            r"own\.yaml: parameter data\.batch_size: when names 'sampler', which is no parameter and no key",
        ),
        ("parameters: {optimizer.lr: {uniform: [0.1, 1]}}\npoints: 3", r"own\.yaml: points: must be a list, got 3"),
        (
            "parameters: {optimizer.lr: {uniform: [0.1, 1]}}\npoints: [{lr: 1}]",
            r"points\.0: no parameter 'lr'; valid: optimizer\.lr",
        ),
        ("parameters: {optimizer.lr: {uniform: [0.1, 1]}}\nexclude: 3", r"own\.yaml: exclude: must be a list, got 3"),
        (
            "parameters: {optimizer.lr: {uniform: [0.1, 1]}}\nexclude: [lr]",
            r"exclude\.0: must be a mapping of keys to values, got 'lr'",
        ),
        ("parameters: {optimizer.lr: {uniform: [0.1, 1]}}\nexclude: [{lr: 1}]", r"exclude\.0: no parameter 'lr'"),
        (
            "parameters: {encoder.pooling: {choice: [cls, mean]}}\nexclude: [{encoder.pooling: [cls, max]}]",
            r"exclude\.0\.encoder\.pooling: must be one of cls, mean, got 'max'",
        ),
        (
            "parameters: {encoder.pooling: {choice: [cls, mean]}}\nexclude: [{encoder.pooling: {above: 1}}]",
            r"exclude\.0\.encoder\.pooling: must be one or several of a choice's values",
        ),
        (
            "parameters: {optimizer.lr: {uniform: [0.1, 1]}}\nexclude: [{optimizer.lr: {over: 1}}]",
            r"own\.yaml: unknown key 'exclude\.0\.optimizer\.lr\.over'; valid: above, below",
        ),
        (
            "parameters: {optimizer.lr: {uniform: [0.1, 1]}}\nexclude: [{optimizer.lr: {above: high}}]",
            r"exclude\.0\.optimizer\.lr\.above: must be a finite number, got 'high'",
        ),
        (
            "parameters: {optimizer.lr: {uniform: [0.1, 1]}}\nexclude: [{optimizer.lr: {}}]",
            r"exclude\.0\.optimizer\.lr: must be {above: A, below: B}, or one of the two",
        ),
        (
            "parameters: {optimizer.lr: {uniform: [0.1, 1]}}\nexclude: [{optimizer.lr: [[1]]}]",
            r"exclude\.0\.optimizer\.lr: must be a text, a number, .*got \[1\]",
        ),
        (
            "parameters: {optimizer.lr: {uniform: [true, 1]}}",
            r"optimizer\.lr\.uniform\.0: must be a finite number, got true",
        ),
        (
            "parameters: {optimizer.lr: {uniform: [0.1, 1]}}\nmutable: [lr]",
            r"own\.yaml: mutable: no parameter 'lr'",
        ),
    ],
)
def test_a_mistake_in_yaml_is_named_by_file_and_key(base: RunConfig, write: Any, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_space(write(text), base)


def test_each_mistake_in_yaml_has_a_line_of_its_own(base: RunConfig, write: Any) -> None:
    path = write("paramters: {}\nparameters: {optimizer.lr: {uniform: [1]}}\nmutable: [3]")
    with pytest.raises(UserError) as error:
        open_space(path, base)
    keys = ["parameters.optimizer.lr.uniform", "mutable.0", "unknown key 'paramters'"]
    lines = str(error.value).splitlines()
    assert [line.startswith(f"{path}: {key}") for line, key in zip(lines, keys, strict=True)] == [True] * 3


def test_empty_keys_and_single_values_are_understood(base: RunConfig, write: Any) -> None:
    space = open_space(write("about:\nparameters: {optimizer.lr: {uniform: [0.1, 1]}}\npoints:\nexclude:\n"), base)
    assert (space.about, space.points, space.mutable) == ("", (), ())
    space = open_space(write("parameters: {optimizer.lr: {uniform: [0.1, 1]}}\nmutable: optimizer.lr\n"), base)
    assert space.mutable == ("optimizer.lr",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optimizer.lrr: {uniform: [0, 1]}", r"own\.yaml: .*unknown key 'optimizer\.lrr'.*did you mean 'lr'"),
        ("encoder.pooling: {choice: [mean, maen]}", r"encoder\.pooling=maen can never be trained: .*got 'maen'"),
        ("encoder.dropout: {uniform: [1.5, 2]}", r"no sample can be trained: encoder\.dropout: .*less than 1"),
        ("sampling.tasks_per_step: {randint: [2, 4]}", r"sampling\.tasks_per_step=4 can never be trained"),
        ("sampling.name: {choice: [uniform, sequential]}", r"sampling\.name=sequential can never be trained: .*pcgrad"),
        (
            "seed: {choice: [1, 2]}\n  encoder.pooling: {choice: [cls, men], when: {seed: [2]}}",
            r"encoder\.pooling=men can never be trained",
        ),
        (
            "encoder.dropout: {uniform: [0, 0.5]}\npoints:\n - {encoder.dropout: 0.6}",
            r"points: .*encoder\.dropout must be 0 … 0\.5, got 0\.6",
        ),
    ],
)
def test_what_can_never_be_trained_is_named_before_anything_starts(
    base: RunConfig, write: Any, text: str, message: str
) -> None:
    space = open_space(write(f"parameters:\n  {text}\n"), base)
    with pytest.raises(UserError, match=message) as error:
        check_space(space, base)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("defualt", r"there is no space 'defualt'.*did you mean 'default'"),
        ("own.yaml", r"there is no space file own\.yaml"),
        ("nowhere.at_all:space", r"there is no module 'nowhere'"),
        (":space", r"a space is package\.module:function"),
        (f"{AWKWARD}:cirlce", r"has no function 'cirlce'.*did you mean 'circle'"),
        (f"{AWKWARD}:circle", r"the conditions \(when\) of encoder\.pooling, schedule\.decay go in a circle"),
        (f"{AWKWARD}:rounded", r"parameter schedule\.warmup must be .*choice, got one that is rounded"),
        (f"{AWKWARD}:searched_on_a_grid", r"parameter optimizer\.lr must be tune\.uniform"),
        (f"{AWKWARD}:empty", r"empty must give names of parameters to their ranges"),
    ],
)
def test_a_space_that_cannot_be_opened_is_refused(base: RunConfig, spec: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_space(spec, base)


@pytest.mark.parametrize(
    ("fixed", "message"),
    [
        ({"encoder.droput": 0.1}, r"space default: no parameter 'encoder\.droput'.*did you mean 'encoder\.dropout'"),
        ({"optimizer.lr": 1e-4, "encoder.dropout": 0.1, "head.dropout": 0.1}, "every parameter is fixed"),
    ],
)
def test_fixed_values_that_fit_no_parameter_are_refused(fixed: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_space("default", load_recipe("d-sst"), fixed)


def test_a_module_that_lies_where_the_user_is(base: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_rates.py").write_text(
        '"""Mine."""\nfrom ray import tune\n\n\ndef space(base):\n    return {"optimizer.lr": tune.choice([1e-4])}\n'
    )
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    space = open_space("my_rates:space", base)
    assert (space.name, space.about, space.grid()) == ("my_rates", "Mine.", [{"optimizer.lr": 1e-4}])
    assert sys.path == before


def test_a_broken_import_inside_a_users_module_keeps_its_traceback(
    base: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "needs_more.py").write_text("import a_package_that_is_not_there\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="a_package_that_is_not_there"):
        open_space("needs_more:space", base)


def test_importing_the_package_loads_neither_ray_nor_optuna() -> None:
    script = "import sys, tune_spaces; tune_spaces.shipped_spaces(); print(sorted({'ray', 'optuna', 'torch'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
