"""`multitask.train` as a user sees it: callbacks, resuming, Ctrl-C, what it gives."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel

import multitask
from multitask.config import parse_config
from multitask.data import prepare_tables
from multitask.model import build_model
from multitask.trainer.saved import SavedSteps
from multitask.trainer.trainer import Trainer
from tests.builders import merge

KILLED = """
import json, os, signal, sys
import multitask

def kill(step, result):
    if step == 5:
        os.kill(os.getpid(), signal.SIGKILL)

multitask.train(json.load(open(sys.argv[1])), folder=sys.argv[2], on_step=kill, progress=False, device="cpu")
"""


def _final(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    newest = max(folder.glob("step-*"))
    return load_file(newest / "tensors.safetensors"), json.loads((newest / "state.json").read_text())


@pytest.mark.parametrize("adapter", [{}, {"name": "projected_attention", "width": 8, "heads": 2}], ids=["none", "own"])
def test_a_task_may_have_any_name(adapter: dict[str, Any], tiny_tasks: dict[str, Any], tmp_path: Path) -> None:
    """Those of attributes of a module, and those that the code itself uses."""
    names = dict(zip(("sst", "quora", "sts"), ("type", "shared", "training"), strict=True))
    tree = merge(tiny_tasks, {"encoder": {"adapter": adapter or {"name": "none"}}, "optimizer": {"lr": 0.01}})
    tree["tasks"] = {names[task]: own for task, own in tree["tasks"].items()} | {"values": tree["tasks"]["sst"]}
    tree["phases"] = [{"epochs": 1, "steps_per_epoch": 2}]
    config = parse_config(tree, "test")
    start = {name: value.detach().clone() for name, value in build_model(config).named_parameters()}
    trained = multitask.train(config, folder=tmp_path / "run", progress=False, device="cpu")
    after = dict(trained.weights)
    parts = {".".join(name.split(".")[:2]) for name in after}
    assert {f"heads.{task}" for task in tree["tasks"]} <= parts
    for part in (*(f"heads.{task}." for task in tree["tasks"]), "encoder.model.encoder.layer.0.attention"):
        assert any(not torch.equal(after[n], start[n]) for n in after if n.startswith(part)), part
    trained.export(tmp_path / "export")
    model = multitask.load(tmp_path / "export")
    assert model.tasks == tuple(tree["tasks"])
    for task in ("type", "values"):
        assert model.predict(task, ["a superb film"]) == trained.predict(task, ["a superb film"])


@pytest.mark.parametrize("case", ["adamw with a teacher", "qhadam", "moments by task"])
def test_killed_training_goes_on_to_the_bit(case: str, tiny_tasks: dict[str, Any], tmp_path: Path) -> None:
    changes: dict[str, Any] = {
        "adamw with a teacher": {"regularization": {"bregman": {"weight": 1.0, "momentum": 0.5}}},
        "qhadam": {"optimizer": {"name": "qhadam"}},
        "moments by task": {
            "optimizer": {"name": "adamw", "lr": 1e-3, "per_task": True},
            "combination": {"name": "sum"},
            "phases": [{"sampling": {"name": "round_robin", "tasks_per_step": 1}}],
        },
    }[case]
    base = merge(tiny_tasks, {"encoder": {"dropout": 0.1}, "training": {"save_every": 2, "evaluate_every": 3}})
    tree = merge(base, changes)
    tree["phases"] = [tree["phases"][0] | {"steps_per_epoch": 8}]
    (tmp_path / "config.json").write_text(json.dumps(tree))
    command = [sys.executable, "-c", KILLED, str(tmp_path / "config.json"), str(tmp_path / "killed")]
    assert subprocess.run(command, env=os.environ, check=False).returncode == -signal.SIGKILL
    newest = max((tmp_path / "killed").glob("step-*"))
    assert newest.name == "step-00000004"

    one = multitask.train(tree, folder=tmp_path / "killed", progress=False, device="cpu")
    other = multitask.train(tree, folder=tmp_path / "whole", progress=False, device="cpu")
    assert one.scores == other.scores
    (tensors, state), (wanted, wanted_state) = _final(tmp_path / "killed"), _final(tmp_path / "whole")
    assert set(tensors) == set(wanted)
    assert any(name.startswith("moments:") for name in tensors)
    assert [name for name in wanted if not torch.equal(tensors[name], wanted[name])] == []
    assert state["progress"] == wanted_state["progress"]
    assert state["numbers"] == wanted_state["numbers"]


def test_torn_or_altered_save_is_passed_over(tiny_tasks: dict[str, Any], tmp_path: Path) -> None:
    tree = tiny_tasks | {"training": {"save_every": 2}}
    tree["phases"] = [tree["phases"][0] | {"steps_per_epoch": 4}]
    multitask.train(tree, folder=tmp_path / "run", progress=False, device="cpu")
    config = parse_config(tree, "test")
    saved, hashes = SavedSteps(tmp_path / "run"), prepare_tables(config).hashes()
    whole = saved.newest(config, hashes)
    assert whole is not None
    assert whole.state["progress"]["step"] == 4
    with (tmp_path / "run/step-00000004/tensors.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))
    before = saved.newest(config, hashes)
    assert before is not None
    assert before.state["progress"]["step"] == 2


def test_folder_of_another_training_is_refused(tiny_tasks: dict[str, Any], tmp_path: Path) -> None:
    tree = tiny_tasks | {"phases": [tiny_tasks["phases"][0] | {"steps_per_epoch": 1}]}
    multitask.train(tree, folder=tmp_path / "run", progress=False, device="cpu")
    with pytest.raises(multitask.UserError, match="another config"):
        multitask.train(tree | {"seed": 5}, folder=tmp_path / "run", progress=False, device="cpu")


def test_interrupt_ends_after_the_step_and_a_folder_goes_on(tiny_tasks: dict[str, Any], tmp_path: Path) -> None:
    tree = tiny_tasks | {"phases": [tiny_tasks["phases"][0] | {"steps_per_epoch": 4}]}

    def interrupt(step: int, result: Any) -> None:
        if step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    cut = multitask.train(tree, folder=tmp_path / "run", on_step=interrupt, progress=False, device="cpu")
    assert (cut.status, cut.progress.step, cut.scores) == ("interrupted", 3, {})
    assert signal.getsignal(signal.SIGINT) is handler
    assert cut.predict("sst", ["a good film"])[0] in range(5)
    rest = multitask.train(tree, folder=tmp_path / "run", progress=False, device="cpu")
    whole = multitask.train(tree, progress=False, device="cpu")
    assert rest.status == "finished"
    assert all(torch.equal(rest.weights[name], value) for name, value in whole.weights.items())


def test_trained_holds_the_best_evaluation_and_exports_it(tiny_tasks: dict[str, Any], tmp_path: Path) -> None:
    tree = merge(tiny_tasks, {"training": {"evaluate_every": 2, "evaluate_before": True, "log_every": 1}})
    tree["phases"] = [tree["phases"][0] | {"steps_per_epoch": 6}]
    seen: dict[int, dict[str, float]] = {}
    steps: list[int] = []
    trained = multitask.train(
        tree,
        on_step=lambda step, result: steps.append(step),
        on_evaluation=seen.__setitem__,
        progress=False,
        device="cpu",
    )
    assert steps == [1, 2, 3, 4, 5, 6]
    assert list(seen) == [2, 4, 6]
    best = max(seen.values(), key=lambda scores: scores["dev/mean"])
    assert trained.scores == best
    assert [record["step"] for record in trained.history] == [0, 1, 2, 3, 4, 5, 6]
    assert "combination/cosine/sst-quora" in trained.history[1]
    again = {
        f"dev/{task}/{name}": value for task, own in trained.evaluate("dev").items() for name, value in own.items()
    }
    assert again == {name: value for name, value in best.items() if name != "dev/mean"}
    with pytest.raises(multitask.UserError, match="no task has a split 'test'"):
        trained.evaluate("test")

    trained.export(tmp_path / "export")
    loaded = multitask.load(tmp_path / "export", "cpu")
    texts = ["a good film", "a dull story"]
    assert loaded.scores == trained.scores
    assert loaded.predict("sst", texts) == trained.predict("sst", texts)
    np.testing.assert_array_equal(loaded.embed(texts), trained.predictor.embed(texts))
    encoder = AutoModel.from_pretrained(tmp_path / "export")
    name = "encoder.layer.1.output.dense.weight"
    assert torch.equal(encoder.state_dict()[name], trained.weights[f"encoder.model.{name}"])


@pytest.mark.parametrize("precision", ["bf16", "autocast", "fp16"])
def test_low_precision_keeps_fp32_weights(precision: str, tiny_tasks: dict[str, Any]) -> None:
    """bf16 rounds steps this small away, fp32 masters do not."""
    tree = merge(tiny_tasks, {"precision": precision, "optimizer": {"lr": 1e-6}})
    config = parse_config(tree, "test")
    trainer = Trainer(config, prepare_tables(config), torch.device("cpu"))
    # From where nothing overflows.
    trainer.step.loss_scale.value = min(trainer.step.loss_scale.value, 2.0**10)
    before = trainer.step.weights.copy()
    for _ in range(3):
        trainer.train_step()
    name = "encoder.model.encoder.layer.1.output.dense.weight"
    moved = (trainer.step.weights.copy()[name] - before[name]).abs()
    assert 0 < moved.max() < 1e-5
    wanted = torch.bfloat16 if precision == "bf16" else torch.float32
    shown = dict(trainer.model.named_parameters())[name]
    assert shown.dtype == wanted
    assert torch.equal(shown, trainer.step.weights.values[name].to(wanted))


def test_step_that_is_not_finite_is_left_out_and_too_many_end_the_training(tiny_tasks: dict[str, Any]) -> None:
    config = parse_config(merge(tiny_tasks, {"training": {"non_finite_limit": 1}}), "test")
    trainer = Trainer(config, prepare_tables(config), torch.device("cpu"))
    with torch.no_grad():
        next(trainer.model.head("quora").parameters()).fill_(torch.nan)
    before = trainer.step.weights.copy()
    result = trainer.train_step()
    assert (result.applied, result.culprits) == (False, ("quora",))
    after = trainer.step.weights.copy()
    assert all(torch.equal(after[name], value) for name, value in before.items() if not value.isnan().any())
    with pytest.raises(
        multitask.UserError, match="2 steps in a row, up to step 2, had a loss or gradient that is not finite"
    ):
        trainer.train_step()


def test_global_generator_is_left_alone(tiny_tasks: dict[str, Any]) -> None:
    tree = merge(tiny_tasks, {"encoder": {"dropout": 0.1}})
    tree["phases"] = [tree["phases"][0] | {"steps_per_epoch": 1}]
    before = torch.random.get_rng_state()
    multitask.train(tree, progress=False, device="cpu")
    assert torch.equal(torch.random.get_rng_state(), before)


def test_importing_multitask_stays_light() -> None:
    code = "import sys, multitask; assert not {'torch', 'transformers'} & set(sys.modules); multitask.train; assert 'torch' in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
