"""What is wrong with a value, in words that say what to write."""

import copy
import re
from pathlib import Path
from typing import Any

import pytest

from multitask.config import load_recipe, parse_config, read_recipe
from multitask.config.overrides import set_values
from multitask.config.reference import keys, sections
from multitask.errors import UserError

WRONG: tuple[Any, ...] = (None, True, 0.5, "x", [[1]], {"x": 1}, [None])
# What pydantic says, and Python's spelling of what YAML spells otherwise.
FOREIGN = re.compile(
    r"\b([Ii]nput|tuple|dictionary|instance|validation|boolean|integer|string|should|None|True|False)\b"
)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("phases.0.tasks=sst", "phases.0.tasks: must be a list, got 'sst': write [sst]"),
        ("encoder.adapter={name: lora, targets: query}", "encoder.adapter.targets: must be a list, got 'query': write [query]"),
        ("optimizer.betas=null", "optimizer.betas: must be a list, got null"),
        ("optimizer.betas=[.9]", "optimizer.betas.1 is missing"),
        ("optimizer.betas=[.9, .9, .9]", "optimizer.betas: must have at most 2 elements, got 3"),
        ("phases=[]", "phases: must have at least 1 element, got 0"),
        ("optimizer.lr=fast", "optimizer.lr: must be a number, got 'fast'"),
        ("seed=1.5", "seed: must be a whole number, got 1.5"),
        ("training.evaluate_before=perhaps", "training.evaluate_before: must be true or false, got 'perhaps'"),
        ("tracking.project=7", "tracking.project: must be text, got 7: quote it: \"7\""),
        ("tracking.tags=[no]", "tracking.tags.0: must be text, got false: quote it: \"false\""),
        ("encoder=7", "encoder: must be a mapping of keys to values, got 7"),
        ("encoder={1: 2}", "encoder: a key must be text, got 1: quote it: \"1\""),
        ("tasks={1: {}}", "tasks: a key must be text, got 1: quote it: \"1\""),
        ("tasks={no: {}}", "'{no: {}}': YAML reads the key no as true or false: quote it: \"no\""),
        ("tasks={a: {}, a: {}}", "'{a: {}, a: {}}': the key 'a' stands twice, first in line 1: leave one out"),
    ],
)  # fmt: skip
def test_what_to_write_is_said(override: str, told: str) -> None:
    with pytest.raises(UserError) as error:
        load_recipe("main", [override])
    assert any(line.endswith(told) for line in str(error.value).splitlines()), str(error.value)


def test_no_key_is_refused_in_pydantic_s_own_words() -> None:
    main, told = read_recipe("main"), []
    for section in sections():
        above = section.path.replace("NAME", "sst").replace(".N", ".0")
        choice = {"any other": "lamb"}.get(section.choice or "", section.choice)
        for path, _ in keys(section):
            for value in WRONG:
                tree = copy.deepcopy(main)
                own = f"{above}.{path.rpartition('.')[2]}".removeprefix(".")
                set_values(tree, [(own, value), *([(f"{above}.name", choice)] if choice else [])])
                try:
                    parse_config(tree, "test")
                except UserError as error:
                    told += str(error).splitlines()
    assert len(told) > 500
    assert [line for line in told if FOREIGN.search(line)] == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("extends: main\ntasks:\n  a: {auxiliary: true}\n  b: {}\n  a: {}\n", "line 5: the key 'a' stands twice, first in line 3: leave one out"),
        ("seed: 1\noptimizer: {lr: 1, lr: 2}\n", "line 2: the key 'lr' stands twice, first in line 2: leave one out"),
        ('seed: 1\n"seed": 2\n', "line 2: the key 'seed' stands twice"),
        ("extends: main\ntasks:\n  no: {}\n", "line 3: YAML reads the key no as true or false: quote it: \"no\""),
        ("extends: main\ntasks:\n  Off: {}\n", "line 3: YAML reads the key Off as true or false: quote it: \"Off\""),
        ("tasks:\n  ~: {}\n", "line 2: YAML reads the key ~ as null: quote it: \"~\""),
        ("? [a]\n: 1\n", "line 1: a key must be text"),
    ],
)  # fmt: skip
def test_a_key_that_would_be_lost_or_misread_is_refused(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        load_recipe(str(path))
    assert str(error.value).startswith(f"{path}, {told}")


def test_keys_that_a_merge_brings_may_be_said_again(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("extends: main\nphases:\n  - &p {epochs: 1}\n  - {<<: *p, epochs: 3, lr: 1e-5}\n")
    config = load_recipe(str(path))
    assert [(phase.epochs, phase.lr) for phase in config.phases] == [(1, None), (3, 1e-5)]
