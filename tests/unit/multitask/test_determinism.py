"""Deterministic operations alone, as long as a run lasts; one that is not is told by name."""

import os
from typing import Any

import pytest
import torch

from cluster.training import worker
from cluster.training.loop import Run
from cluster.training.session import LocalSession
from multitask.config import parse_config
from multitask.determinism import deterministic
from multitask.errors import UserError
from multitask.trainer.trainer import Trainer, train
from tests.builders import merge

WANTED = {"training": {"deterministic": True, "stop_after": 1}}
_VARIABLE = "CUBLAS_WORKSPACE_CONFIG"


def _state() -> tuple[object, ...]:
    cudnn = torch.backends.cudnn
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        cudnn.deterministic,
        cudnn.benchmark,
        os.environ.get(_VARIABLE),
    )


@pytest.mark.parametrize("plain", [True, False], ids=["plain trainer", "cluster"])
def test_it_holds_inside_of_a_run_alone(
    tiny_tasks: dict[str, Any], monkeypatch: pytest.MonkeyPatch, plain: bool
) -> None:
    before, inside = _state(), []
    owner: Any = Trainer if plain else Run
    step = owner.train_step

    def watched(self: object, *arguments: object) -> object:
        inside.append(_state())
        return step(self, *arguments)

    monkeypatch.setattr(owner, "train_step", watched)
    tree = merge(tiny_tasks, WANTED)
    if plain:
        train(tree, progress=False, device="cpu")
    else:
        worker.train(parse_config(tree, "test"), LocalSession("cpu"))
    assert inside == [(True, False, True, False, ":4096:8")]
    assert _state() == before


def test_operation_without_a_deterministic_one_is_named() -> None:
    before = _state()
    said = r"^training\.deterministic: put_ has no deterministic implementation on this device; leave it out$"
    with pytest.raises(UserError, match=said), deterministic(True):
        torch.zeros(3).put_(torch.tensor([0, 0]), torch.ones(2))
    assert _state() == before


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="something else"), deterministic(True):
        raise RuntimeError("something else")


def test_what_was_set_before_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(_VARIABLE, ":16:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        before = _state()
        with deterministic(True):
            assert os.environ[_VARIABLE] == ":16:8"
        assert _state() == before
    finally:
        torch.use_deterministic_algorithms(False)
