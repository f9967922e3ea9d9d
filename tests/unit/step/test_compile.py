"""A step whose layers are compiled gives the losses and gradients of one whose layers are not."""

from collections.abc import Iterator
from functools import partialmethod
from typing import Any

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

from cluster.step.stopwatch import Stopwatch
from cluster.storage.run_folder import RunFolder
from cluster.training.loop import Run
from cluster.training.session import LocalSession
from cluster.training.worker import open_tables
from multitask.config import parse_config
from multitask.data import prepare_tables
from multitask.errors import UserError
from multitask.model import build_model, compiling
from multitask.trainer.record import TrainRecord
from multitask.trainer.trainer import Trainer
from tests.builders import merge

CASES: dict[str, dict[str, Any]] = {
    "row, zero2, all layers": {"zero": {"stage": 2}, "encoder": {"pooling": "mean_layers"}},
    "checkpointing": {"encoder": {"checkpointing": True}},
    "checkpointing, rank, lora": {
        "encoder": {"checkpointing": True, "dropout_key": "rank", "adapter": {"name": "lora", "dropout": 0.1}}
    },
    "smart and bregman": {"regularization": {"smart": {}, "bregman": {"weight": 1.0}}},
    "autocast": {"precision": "autocast"},
}
COMPILED = {"training": {"compile": True}}


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("autocast", torch.bfloat16), ("fp16", torch.float16)]
)
def test_what_is_tried_before_the_first_step_runs_in_the_precision_of_the_run(
    tiny_tasks: dict[str, Any], monkeypatch: pytest.MonkeyPatch, precision: str, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(compiling, "_compile", lambda layer, config: None)
    config = parse_config(merge(merge(tiny_tasks, COMPILED), {"precision": precision}), "test")
    encoder = build_model(config).encoder
    seen: set[torch.dtype] = set()
    inside = next(module for module in encoder.model.modules() if isinstance(module, nn.Linear))
    inside.register_forward_hook(lambda module, arguments, output: seen.add(output.dtype))
    compiling.compile_layers(encoder, config)
    assert seen == {dtype}


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Layers are traced as torch.compile traces them, and run without the minutes that making code of them takes."""
    monkeypatch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend="aot_eager"))
    yield
    torch.compiler.reset()


def _trained(tree: dict[str, Any], steps: int = 2) -> tuple[Run, torch.Tensor]:
    config, session = parse_config(tree, "test"), LocalSession("cpu")
    run = Run(config, session, RunFolder.of(config), open_tables(config, session), Stopwatch(session.device))
    run.engine.deepspeed.train()
    for _ in range(steps):
        run.train_step(TrainRecord())
    return run, torch.cat([master.detach().clone() for master in run.engine.partition.masters])


@pytest.mark.slow
@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("case", CASES)
def test_traced_layers_train_as_before(tiny_tasks: dict[str, Any], case: str) -> None:
    tree = merge(merge(tiny_tasks, {"encoder": {"dropout": 0.2}, "optimizer": {"eps": 1e-4}}), CASES[case])
    _, wanted = _trained(tree)
    counters.clear()
    _, found = _trained(merge(tree, COMPILED))
    assert counters["stats"]["unique_graphs"] > 0
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-3 if case == "autocast" else 1e-6)


@pytest.mark.slow
def test_compiled_layers_train_as_before(tiny_tasks: dict[str, Any]) -> None:
    tree = merge(tiny_tasks, {"optimizer": {"eps": 1e-4}})
    _, wanted = _trained(tree)
    run, found = _trained(merge(tree, COMPILED))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)
    assert not [name for name in run.engine.model.state_dict() if "_orig_mod" in name]
    torch.compiler.reset()


@pytest.mark.slow
@pytest.mark.usefixtures("traced")
def test_number_of_graphs_does_not_grow_with_lengths(tiny_tasks: dict[str, Any]) -> None:
    counters.clear()
    run, _ = _trained(merge(tiny_tasks, merge(COMPILED, {"encoder": {"dropout": 0.1}})), steps=4)
    seen = counters["stats"]["unique_graphs"]
    model = run.engine.model
    for rows in range(2, 6):
        for length in range(4, 30, 5):
            ids = torch.full((rows, length), 9)
            model.encoder(ids, torch.ones_like(ids), torch.zeros_like(ids), is_padded=False)
    assert counters["stats"]["unique_graphs"] <= seen + 2
    assert seen <= 8


@pytest.mark.slow
@pytest.mark.usefixtures("traced")
def test_plain_trainer_compiles_too(tiny_tasks: dict[str, Any]) -> None:
    found = []
    for tree in (tiny_tasks, merge(tiny_tasks, COMPILED)):
        config = parse_config(merge(tree, {"optimizer": {"eps": 1e-4}}), "test")
        trainer = Trainer(config, prepare_tables(config), torch.device("cpu"))
        trainer.train_step()
        found.append(trainer.step.weights.copy())
    assert list(found[0]) == list(found[1])
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=1e-6)


def test_without_a_compiler_it_is_told_in_one_line(tiny_tasks: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor import config

    monkeypatch.setattr(config.cpp, "cxx", ("no-such-compiler",))
    monkeypatch.setattr(config, "force_disable_caches", True)
    tree = parse_config(merge(tiny_tasks, COMPILED), "test")
    with pytest.raises(
        UserError, match=r"^training\.compile: the encoder's layers cannot be compiled here: .*[Cc]ompiler"
    ):
        Trainer(tree, prepare_tables(tree), torch.device("cpu"))
    torch.compiler.reset()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"zero": {"stage": 3}}, "training.compile: zero.stage=3 gathers and frees weights inside of each layer"),
        (
            {"encoder": {"adapter": {"name": "projected_attention", "width": 8, "heads": 2}}},
            "training.compile: encoder.adapter.name=projected_attention",
        ),
    ],
)
def test_what_cannot_be_compiled_is_refused(tiny_tasks: dict[str, Any], changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        parse_config(merge(merge(tiny_tasks, COMPILED), changes), "test")
