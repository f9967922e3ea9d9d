"""Every combination on the real step where the model is not whole: adapters, bf16, layers that thaw, tasks that are absent."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cluster.training.session import LocalSession
from multitask.config import parse_config
from multitask.config.combination.catalogue import method_classes
from tests.builders import merge, tiny_config
from tests.distributed.one_process import plain_trajectory
from tests.distributed.ranks import run_ranks, train_job
from tests.unit.multitask.combination.methods import METHODS, NEEDED

GROUPS = [["sst", "sts"], ["quora"]]
COMBINATIONS: dict[str, dict[str, Any]] = {
    **{name: {"name": name, **NEEDED.get(name, {})} for name in METHODS},
    "dwa": {"name": "dwa", "window": 1},
    "inside": {"name": "gradvac", "groups": GROUPS, "inside": {"name": "imtl_g"}},
    "losses inside": {"name": "upgrad", "groups": GROUPS, "inside": {"name": "famo", "lr": 0.3}},
}
# What is read of gradients, of losses before and after the backward passes, of coordinates, and of both in groups.
REPRESENTATIVES = ("cagrad", "uncertainty", "famo", "graddrop", "inside")
# One step with heads alone, then one more layer in each; a task is absent from every step.
THAWING = {"encoder": "gradual", "epochs": 4, "steps_per_epoch": 1}
WHOLE = {"name": "round_robin"}


def _job(folder: Path, bert: Path, combination: dict[str, Any], **changes: Any) -> dict[str, Any]:
    base = tiny_config(
        folder,
        encoder={"name": str(bert)},
        combination=combination,
        phases=[{"sampling": WHOLE}],
        training={"clip_norm": 1.0},
        optimizer={"name": "adamw", "lr": 1e-3, "eps": 1e-4},
    )
    return merge(base, changes)


def _thawing(folder: Path, bert: Path, combination: dict[str, Any]) -> dict[str, Any]:
    own = method_classes()[combination["name"]]
    blocks = {"granularity": "layer"} if "granularity" in own.model_fields else {}
    three = combination["name"] in ("trimmed_mean", "krum")
    sampling = WHOLE if three else WHOLE | {"tasks_per_step": 2}
    return _job(folder, bert, combination | blocks, phases=[{"sampling": sampling, **THAWING}])


def _adapted(folder: Path, bert: Path, combination: dict[str, Any]) -> dict[str, Any]:
    return _job(folder, bert, combination, encoder={"adapter": {"name": "lora", "rank": 2}}, precision="autocast")


SETTINGS = {"thawing": (_thawing, 4), "adapted": (_adapted, 2)}


@pytest.fixture(scope="module")
def session() -> Iterator[LocalSession]:
    session = LocalSession("cpu")
    yield session
    session.close()


def _errors(found: dict[str, np.ndarray], wanted: dict[str, torch.Tensor], near: float) -> list[str]:
    wrong = []
    for parameter, value in wanted.items():
        error = (torch.from_numpy(found[parameter]).reshape(value.shape) - value).abs().max().item()
        if error > near * value.abs().max().item() + 5e-7:
            wrong.append(f"{parameter}: {error:.2e} beside {value.abs().max():.2e}")
    return wrong


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", COMBINATIONS)
def test_one_rank_is_the_plain_trainer(
    name: str, setting: str, folder: Path, tiny_bert: Path, session: LocalSession
) -> None:
    make, steps = SETTINGS[setting]
    job = make(folder, tiny_bert, COMBINATIONS[name])
    found = train_job(parse_config(job, "test"), session, steps)
    assert _errors(found, plain_trajectory(job, steps), 2e-5) == []


def _flat(found: Mapping[str, Any], names: Iterable[str]) -> torch.Tensor:
    return torch.cat([torch.as_tensor(found[name]).reshape(-1) for name in names])


def _smooth(folder: Path, bert: Path, combination: dict[str, Any], precision: str = "fp32") -> dict[str, Any]:
    """With so large an ε Adam moves by the gradient's size, not by its sign."""
    return _job(folder, bert, combination, optimizer={"lr": 0.1, "eps": 10.0}, precision=precision)


@pytest.fixture(scope="module")
def start(folder: Path, tiny_bert: Path, session: LocalSession) -> dict[str, dict[str, np.ndarray]]:
    """Weights before the first step by precision: bf16 begins with rounded ones."""
    jobs = {own: _smooth(folder, tiny_bert, {"name": "sum"}, own) for own in ("fp32", "bf16")}
    return {own: train_job(parse_config(job, "test"), session, 0) for own, job in jobs.items()}


@pytest.fixture(scope="module")
def summed(folder: Path, tiny_bert: Path) -> dict[str, torch.Tensor]:
    return plain_trajectory(_smooth(folder, tiny_bert, {"name": "sum"}), 2)


@pytest.mark.parametrize("name", COMBINATIONS)
def test_bf16_weights_move_as_fp32_does(
    name: str,
    folder: Path,
    tiny_bert: Path,
    session: LocalSession,
    start: dict[str, dict[str, np.ndarray]],
    summed: dict[str, torch.Tensor],
) -> None:
    """To the two digits of bf16, and nearer than the sum of the losses is where that goes elsewhere."""
    plain = plain_trajectory(_smooth(folder, tiny_bert, COMBINATIONS[name]), 2)
    job = parse_config(_smooth(folder, tiny_bert, COMBINATIONS[name], "bf16"), "test")
    found = _flat(train_job(job, session, 2), plain) - _flat(start["bf16"], plain)
    wanted, other = (_flat(end, plain) - _flat(start["fp32"], plain) for end in (plain, summed))
    error, distance = ((own - wanted).norm() / wanted.norm() for own in (found, other))
    assert error < 0.02
    assert distance < 0.02 or error < distance / 2


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize(
    "names", [REPRESENTATIVES, pytest.param(tuple(COMBINATIONS), marks=pytest.mark.long)], ids=["some", "all"]
)
def test_two_ranks_are_one_process(names: tuple[str, ...], setting: str, folder: Path, tiny_bert: Path) -> None:
    make, steps = SETTINGS[setting]
    jobs = [
        make(folder, tiny_bert, COMBINATIONS[name]) | {"zero": {"stage": n % 3 + 1}} for n, name in enumerate(names)
    ]
    # In fp32: autocast rounds the sum over each rank's own rows to bf16, which is another sum.
    jobs = [job | {"precision": "fp32"} for job in jobs]
    for name, job, found in zip(names, jobs, run_ranks(2, jobs, folder / f"{setting}{len(names)}", steps), strict=True):
        assert _errors(found, plain_trajectory(job, steps), 2e-5) == [], name
