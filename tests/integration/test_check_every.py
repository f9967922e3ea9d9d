"""A host that looks at several steps at once: the same run to the bit, and nothing spoiled is saved."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from cluster.step.step import MultitaskStep
from cluster.training.session import LocalSession
from multitask.model.number_heads import RegressionHead
from tests.builders import merge
from tests.integration.test_training import _run, _weights

CASES: dict[str, dict[str, Any]] = {
    "sum, clipped": {"combination": {"name": "sum"}, "training": {"clip_norm": 0.05}},
    "clipped in some steps": {"combination": {"name": "sum"}, "training": {"clip_norm": 3.0}},
    "mean": {"combination": {"name": "mean"}},
    "size_weighted": {"combination": {"name": "size_weighted"}},
    "loss_weights": {"combination": {"name": "loss_weights", "loss_weights": {"sst": 1, "quora": 2, "sts": 3}}},
    "scheduled": {
        "combination": {
            "name": "scheduled",
            "start": {"sst": 1, "quora": 1, "sts": 1},
            "end": {"sst": 1, "quora": 0, "sts": 2},
        }
    },
    "random, bf16": {"combination": {"name": "random"}, "precision": "bf16"},
    "teacher, dropout": {
        "combination": {"name": "sum"},
        "encoder": {"dropout": 0.1},
        "regularization": {"bregman": {"weight": 1.0, "momentum": 0.5}},
    },
    "one task a step, of its own moments": {
        "combination": {"name": "sum"},
        "optimizer": {"name": "adamw", "lr": 1e-3, "per_task": True},
        "phases": [{"sampling": {"name": "round_robin", "tasks_per_step": 1}, "steps_per_epoch": 10}],
    },
}
TELLS = {"log_every": 4, "evaluate_every": 7, "save_every": 3}


def _told(reports: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without what a clock has measured and what tells of the config."""
    kept = [{k: v for k, v in own.items() if not k.startswith("throughput/")} for own in reports if "step" in own]
    padding = [own["throughput/padding"] for own in reports if "throughput/padding" in own]
    return json.loads(json.dumps([*kept, padding], default=str))


@pytest.mark.parametrize("case", CASES)
def test_later_looks_change_nothing(case: str, tiny_tasks: dict[str, Any]) -> None:
    found = {}
    for every in (1, 5):
        changes = {"name": f"every-{every}", "training": {**TELLS, "check_every": every}}
        outcome, recorder, config = _run(merge(merge(tiny_tasks, changes), CASES[case]))
        assert outcome.status == "finished", outcome.error
        result = json.loads(Path(outcome.files["result"]).read_text())
        progress = {key: result[key] for key in ("step", "rows", "tokens", "skipped_steps", "trained_steps", "history")}
        found[every] = _weights(config, 10), _told(recorder.reports), progress
    assert all(torch.equal(found[5][0][name], value) for name, value in found[1][0].items())
    assert found[5][1] == found[1][1]
    assert found[5][2] == found[1][2]


def _poison(monkeypatch: pytest.MonkeyPatch, bad_step: int) -> None:
    """The loss of sts is NaN in step number `bad_step`, from 1."""
    real, real_loss, now = MultitaskStep._pass, RegressionHead.loss, {"step": 0}

    def passes(self: MultitaskStep, work: Any, lowest_layer: int) -> Any:
        now["step"] = work.round.step + 1
        return real(self, work, lowest_layer)

    def loss(self: Any, raw: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return real_loss(self, raw, labels) * (float("nan") if now["step"] == bad_step else 1.0)

    monkeypatch.setattr(MultitaskStep, "_pass", passes)
    monkeypatch.setattr(RegressionHead, "loss", loss)


def _tree(tiny_tasks: dict[str, Any], **training: Any) -> dict[str, Any]:
    return merge(tiny_tasks, {"combination": {"name": "sum"}, "training": training})


def _saved(config: Any) -> list[str]:
    return sorted(place.name for place in Path(config.cluster.storage, config.name, "checkpoints").glob("step-*"))


@pytest.mark.parametrize(
    ("training", "seen", "saved"),
    [
        ({"check_every": 4, "save_every": 3}, 6, ["step-00000003"]),
        ({"check_every": 100, "save_every": 3}, 6, ["step-00000003"]),
        ({"check_every": 100, "evaluate_every": 7}, 7, []),
        ({"check_every": 100, "log_every": 8}, 8, []),
        ({"check_every": 100, "save_every": "auto", "log_every": 100}, 10, []),
        ({"check_every": 2}, 6, []),
    ],
)
def test_step_that_is_seen_too_late_ends_the_run_and_nothing_since_is_saved(
    tiny_tasks: dict[str, Any], monkeypatch: pytest.MonkeyPatch, training: dict[str, Any], seen: int, saved: list[str]
) -> None:
    _poison(monkeypatch, 5)
    tree = _tree(tiny_tasks, **training)
    tree["phases"] = [tree["phases"][0] | {"steps_per_epoch": 12}]
    outcome, recorder, config = _run(tree)
    assert (outcome.status, outcome.best_step) == ("failed", None)
    assert outcome.error == (
        f"step 5 had a loss or gradient that is not finite (sts), which was seen after step {seen}: what was trained since is not saved; set "
        "training.check_every=1, which leaves such steps out, and the run goes on from its last save"
    )
    assert _saved(config) == saved
    assert all("train/loss/sst" not in own for own in recorder.reports)


def test_spoiled_run_goes_on_from_its_last_save_with_a_look_at_each_step(
    tiny_tasks: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    _poison(monkeypatch, 5)
    assert _run(_tree(tiny_tasks, check_every=4, save_every=3))[0].status == "failed"
    outcome, _, config = _run(_tree(tiny_tasks, check_every=1, save_every=3))
    assert outcome.status == "finished"
    result = json.loads(Path(outcome.files["result"]).read_text())
    assert (result["resumed_step"], result["skipped_steps"]) == (3, 1)
    assert all(value.isfinite().all() for value in _weights(config, 10).values())


@pytest.mark.parametrize(("bad_step", "status", "saved"), [(5, "failed", []), (9, "interrupted", ["step-00000006"])])
def test_run_that_is_asked_to_end_looks_before_it_saves(
    tiny_tasks: dict[str, Any], monkeypatch: pytest.MonkeyPatch, bad_step: int, status: str, saved: list[str]
) -> None:
    _poison(monkeypatch, bad_step)
    asked = iter(range(100))
    monkeypatch.setattr(LocalSession, "stop_reason", lambda self: "interrupted" if next(asked) == 6 else None)
    outcome, _, config = _run(_tree(tiny_tasks, check_every=100))
    assert outcome.status == status
    assert _saved(config) == saved
