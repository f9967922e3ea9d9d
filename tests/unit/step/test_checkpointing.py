"""Layers that are passed again while gradients flow back give the same gradient, dropout and all."""

from typing import Any

import pytest
import torch

from cluster.step.stopwatch import Stopwatch
from cluster.storage.run_folder import RunFolder
from cluster.training.loop import Run
from cluster.training.session import LocalSession
from cluster.training.worker import open_tables
from multitask.config import parse_config
from multitask.errors import UserError
from multitask.model.layers import encoder_layers
from multitask.trainer.record import TrainRecord
from tests.builders import merge

CASES: dict[str, dict[str, Any]] = {
    "row": {},
    "rank": {"encoder": {"dropout_key": "rank"}},
    "zero3": {"zero": {"stage": 3}},
    "r_drop and smart": {"regularization": {"r_drop": {}, "smart": {}}},
    "lora": {"encoder": {"adapter": {"name": "lora"}}},
    "autocast": {"precision": "autocast"},
    "fp16": {"precision": "fp16"},
}


def _trained(tree: dict[str, Any]) -> tuple[torch.Tensor, int]:
    """Weights after two steps, and how often what is inside the lowest layer was passed in the second."""
    config, session = parse_config(tree, "test"), LocalSession("cpu")
    run = Run(config, session, RunFolder.of(config), open_tables(config, session), Stopwatch(session.device))
    run.engine.deepspeed.train()
    run.train_step(TrainRecord())
    layer = next(iter(encoder_layers(run.engine.model.encoder.model).values()))
    inside = next(module for module in layer.modules() if isinstance(module, torch.nn.Linear))
    passes: list[int] = []
    inside.register_forward_pre_hook(lambda *arguments: passes.append(1))
    run.train_step(TrainRecord())
    return torch.cat([master.detach().clone() for master in run.engine.partition.masters]), len(passes)


@pytest.mark.parametrize("case", CASES)
def test_passing_layers_again_changes_nothing(tiny_tasks: dict[str, Any], case: str) -> None:
    tree = merge(merge(tiny_tasks, {"encoder": {"dropout": 0.2}, "optimizer": {"eps": 1e-4}}), CASES[case])
    wanted, once = _trained(tree)
    found, again = _trained(merge(tree, {"encoder": {"checkpointing": True}}))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)
    assert again == 2 * once


def test_projected_attention_is_refused(tiny_tasks: dict[str, Any]) -> None:
    own = {"encoder": {"checkpointing": True, "adapter": {"name": "projected_attention", "width": 8, "heads": 2}}}
    with pytest.raises(UserError, match="checkpointing passes layers by themselves"):
        parse_config(merge(tiny_tasks, own), "test")
