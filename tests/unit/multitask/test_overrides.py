"""What an override, an overlay and a recipe over another change, and what they leave."""

from collections.abc import Mapping
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import yaml

from multitask.config import RunConfig, load_recipe, override_config
from multitask.config.loading import change_config
from multitask.config.reference import keys, sections
from multitask.errors import UserError
from tune_spaces.core.settings import configured


def _changed(text: str, entry: str, folder: Path) -> RunConfig:
    """`main` with the changes of `text`, as this entry makes them."""
    words = text.split(" ; ")
    changes = {key: yaml.safe_load(value) for key, _, value in (word.partition("=") for word in words)}
    if entry == "words":
        return load_recipe("main", words)
    if entry == "mapping":
        return load_recipe("main", changes)
    if entry == "run":
        return override_config(load_recipe("main"), words)
    if entry == "sample":
        return change_config(load_recipe("main"), changes, "sample")
    (folder / "own.yaml").write_text(yaml.safe_dump({"extends": "main"} | _tree(changes)))
    return load_recipe(str(folder / "own.yaml"))


def _tree(changes: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, value in changes.items():
        *parents, last = path.split(".")
        node = tree
        for key in parents:
            node = node.setdefault(key, {})
        node[last] = value
    return tree


def _found(config: RunConfig, path: str) -> Any:
    node: Any = config.to_dict()
    for part in path.split("."):
        node = node[int(part)] if isinstance(node, list) else node[part]
    return node


OVERRIDES = ("words", "mapping", "run", "sample")
ENTRIES = (*OVERRIDES, "file")


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ("optimizer.lr=1.0e-4 ; optimizer.name=lamb", {"optimizer.lr": 1e-4, "optimizer.weight_decay": 0.01}),
        ("optimizer.name=lamb", {"optimizer.lr": 5e-5, "optimizer.name": "lamb"}),
        ("optimizer.name=lamb ; optimizer.options={eps: 1.0e-3}", {"optimizer.options": {"eps": 1e-3}}),
        ("tasks.sts.head={link: identity}", {"tasks.sts.head.name": "linear", "tasks.sts.head.link": "identity"}),
        ("tasks.sst.head.name=mlp ; tasks.sst.head.hidden=9", {"tasks.sst.head.hidden": 9}),
        ("regularization.smart.weight=0.1", {"regularization.smart.weight": 0.1, "regularization.smart.steps": 1}),
        ("regularization.r_drop={}", {"regularization.r_drop.weight": 1.0}),
        ("encoder.adapter.name=lora ; encoder.adapter.rank=4", {"encoder.adapter.rank": 4}),
        ("tasks.sst.kind={name: regression, low: 0, high: 4}", {"tasks.sst.kind.high": 4}),
        ("tasks.sts.files.test=null", {"tasks.sts.files": {"train": ["sts-train.csv"], "dev": ["sts-dev.csv"]}}),
        ("tasks.quora=null", {"combination.name": "pcgrad"}),
    ],
)
def test_a_change_does_the_same_from_every_entry(
    entry: str, change: str, wanted: dict[str, Any], tmp_path: Path
) -> None:
    config = _changed(change, entry, tmp_path)
    assert {path: _found(config, path) for path in wanted} == wanted
    assert ("quora" in config.tasks) == ("quora=null" not in change)


@pytest.mark.parametrize("entry", OVERRIDES)
@pytest.mark.parametrize(
    ("change", "path", "wanted"),
    [
        ("optimizer.betas.0=0.8", "optimizer.betas", [0.8, 0.999]),
        ("tasks.sst.files.train.0=b.csv", "tasks.sst.files.train", ["b.csv"]),
        (
            "tasks.sst.files.train=[a.csv,b.csv,c.csv] ; tasks.sst.files.train.1=null",
            "tasks.sst.files.train",
            ["a.csv", "c.csv"],
        ),
        ("phases.0.sampling.name=uniform", "phases.0.sampling", {"name": "uniform", "tasks_per_step": "all"}),
        ("phases.0.sampling.name=annealed ; phases.0.sampling.tasks_per_step=2", "phases.0.sampling.tasks_per_step", 2),
    ],
)
def test_an_element_of_a_list_is_changed_from_every_entry(
    entry: str, change: str, path: str, wanted: Any, tmp_path: Path
) -> None:
    assert _found(_changed(change, entry, tmp_path), path) == wanted


def test_a_choice_comes_before_its_keys_whatever_the_order() -> None:
    changes = ["optimizer.lr=1e-4", "optimizer.name=qhadam", "optimizer.options.nus=[.7, 1]", "optimizer.per_task=true"]
    sequential = ["phases.0.sampling.name=sequential", "combination.name=sum"]
    found = {load_recipe("main", [*sequential, *order]).optimizer.model_dump_json() for order in permutations(changes)}
    assert len(found) == 1
    kept = load_recipe("main", [*sequential, *changes]).optimizer
    assert (kept.lr, kept.per_task, kept.model_dump()["options"]) == (1e-4, True, {"nus": [0.7, 1]})
    assert load_recipe("main", ["optimizer.lr=1e-4", "optimizer={name: lamb}"]).optimizer.lr == 1e-4


def test_another_choice_keeps_what_both_have_and_forgets_the_rest() -> None:
    base = load_recipe(
        "main",
        [
            "optimizer={lr: 3e-4, weight_decay: .5, betas: [.8, .9], layer_decay: .9}",
            "tasks.sts.head={name: mlp, hidden: 7, link: identity}",
            "phases.0.sampling={name: temperature, temperature: 3, cap: 90, tasks_per_step: 2}",
        ],
    )
    other = override_config(
        base, ["optimizer.name=adamax", "tasks.sts.head.name=linear", "phases.0.sampling.name=uniform"]
    )
    assert other.optimizer.model_dump().items() >= {"lr": 3e-4, "weight_decay": 0.5, "layer_decay": 0.9}.items()
    assert (other.optimizer.name, other.optimizer.model_dump()["options"]) == ("adamax", {})
    head = other.tasks["sts"].head
    assert head is not None
    assert (head.name, getattr(head, "link", None)) == ("linear", "identity")
    assert other.phases[0].sampling.model_dump() == {"name": "uniform", "tasks_per_step": 2}
    # Options belong to one optimizer of the library, and mean nothing to another.
    lamb = override_config(other, ["optimizer.name=lamb", "optimizer.options={eps: 0.001}"])
    assert override_config(lamb, ["optimizer.name=adamax"]).optimizer.model_dump()["options"] == {}
    assert override_config(lamb, ["optimizer.name=lamb"]) == lamb
    assert override_config(base, ["encoder.name=elsewhere"]).encoder.dropout == base.encoder.dropout


@pytest.mark.parametrize(
    ("old", "new", "kept"),
    [
        ("fairgrad", "gradnorm", {"alpha": 1.5}),
        ("famo", "sdmgrad", {"lr": 10.0}),
        ("sdmgrad", "gradnorm", {"lr": 0.025}),
    ],
)
def test_a_key_of_another_meaning_is_not_kept(old: str, new: str, kept: dict[str, Any]) -> None:
    base = load_recipe("main", [f"combination={{name: {old}, {next(iter(kept))}: 0.7}}"])
    for other in (
        override_config(base, [f"combination.name={new}"]),
        configured(base, {"combination.name": new}),
    ):
        assert other.to_dict()["combination"].items() >= kept.items()


def test_keys_that_are_kept_have_one_default() -> None:
    """A key that two choices describe alike is carried from one to the other: it must mean the same there."""
    usual: dict[tuple[str, str, str | None], set[str]] = {}
    for section in sections():
        for path, field in keys(section) if section.choice else ():
            usual.setdefault((section.path, path, field.description), set()).add(repr(field.default))
    odd = {path: found for (_, path, _), found in usual.items() if len(found) > 1}
    assert odd == {"phases.N.sampling.tasks_per_step": {"'all'", "1"}}


def test_a_recipe_over_another_keeps_what_both_choices_have(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(
        "extends: main\noptimizer: {lr: 7e-5, betas: [.8, .9]}\ntasks: {sts: {head: {name: mlp, hidden: 9, link: identity}}}"
    )
    (tmp_path / "child.yaml").write_text(
        "extends: base.yaml\noptimizer: {name: lamb, weight_decay: .1}\ntasks: {sts: {head: {name: linear}}}"
    )
    child = load_recipe(str(tmp_path / "child.yaml"))
    assert (child.optimizer.name, child.optimizer.lr, child.optimizer.weight_decay) == ("lamb", 7e-5, 0.1)
    head = child.tasks["sts"].head
    assert head is not None
    assert (head.name, getattr(head, "link", None)) == ("linear", "identity")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            "optimizer.betas=[.8,.9] ; optimizer.name=lamb",
            "unknown key 'optimizer.betas' where optimizer.name=lamb; valid: lr",
        ),
        ("optimizer.betas.0=.8 ; optimizer.name=lamb", "unknown key 'optimizer.betas' where optimizer.name=lamb"),
        (
            "tasks.sst.head.hidden=9",
            "unknown key 'tasks.sst.head.hidden'; valid: ",
        ),
        ("encoder.adapter.rank=4", "unknown key 'encoder.adapter.rank' where encoder.adapter.name=none"),
        ("optimizer.lr.x=1", "optimizer.lr is 5e-05, it has no keys below it"),
        ("phases.0.tasks.0=sst", "phases.0.tasks is not given, so it has no elements to change: give the whole list"),
        (
            "optimizer.name=lamb ; optimizer.options.nus.0=1",
            "optimizer.options.nus is not given, so it has no elements",
        ),
        ("optimizer.betas.2=.8", "optimizer.betas.2: '2' is no position in a list of 2 (0 … 1)"),
        ("optimizer.betas.²=.8", "optimizer.betas.²: '²' is no position in a list of 2 (0 … 1)"),
        ("optimizer.name=[lamb]", "optimizer.name: must be text, got ['lamb']"),
        ("optimizer.name=null", "optimizer.name"),
        ("tasks=null", "tasks: must be a mapping of keys to values, got null"),
        ("tasks.sst=null ; tasks.quora=null ; tasks.sts=null", "tasks: must have at least 1 element, got 0"),
        ("tasks.sst.files.dev=null", "files.dev is missing"),
    ],
)
def test_what_the_new_choice_does_not_have_is_refused_by_name(change: str, told: str) -> None:
    with pytest.raises(UserError) as error:
        load_recipe("main", change.split(" ; "))
    assert told in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("d #2", "d #2"),
        ("'a #b'", "a #b"),
        ('"#"', "#"),
        ("#1", "#1"),
        ("a#b", "a#b"),
        ("https://x/y#z", "https://x/y#z"),
    ],
)
def test_a_hash_in_an_override_s_value_is_kept(text: str, value: str) -> None:
    assert load_recipe("main", [f"data.root={text}"]).data.root == value
    assert load_recipe("main", [f"tracking.tags=[{text}, b]"]).tracking.tags == (value, "b")


def test_a_task_that_null_took_away_is_not_brought_back_by_an_overlay(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("extends: main\ntasks: {quora: null}\n")
    assert list(load_recipe(str(tmp_path / "own.yaml"), ["+sample"]).tasks) == ["sst", "sts"]
    assert list(load_recipe("main", ["tasks.quora=null", "+sample"]).tasks) == ["sst", "sts"]
