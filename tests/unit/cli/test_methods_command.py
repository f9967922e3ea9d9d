"""`concord methods`: the list, and one in full."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from multitask.config.combination.catalogue import method_classes


def test_all_methods_are_listed(concord: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    done = concord("methods")
    assert done.code == 0
    for name in method_classes():
        assert f" {name} " in done.out
    assert max(map(len, done.out.splitlines())) <= 100


def test_one_method_in_full(concord: Callable[..., Any]) -> None:
    done = concord("methods", "gradvac")
    assert done.code == 0
    for wanted in ("Wang et al. 2021", "running average of each pair's cosine", "beta", "granularity", "default 0.01"):
        assert wanted in done.out


def test_json_says_what_is_searched(concord: Callable[..., Any]) -> None:
    found = {own["name"]: own for own in json.loads(concord("methods", "--json").out)["methods"]}
    assert set(found) == set(method_classes())
    assert found["cagrad"]["ranges"] == ["c"]
    assert found["scheduled"]["searched"] is False
    assert (found["famo"]["gradients"], found["uncertainty"]["gradients"]) == ("each", "one")


def test_unknown_method_is_one_line(concord: Callable[..., Any]) -> None:
    done = concord("methods", "pcgard")
    assert done.code == 2
    assert "there is no method 'pcgard'" in done.err
    assert "pcgrad" in done.err
