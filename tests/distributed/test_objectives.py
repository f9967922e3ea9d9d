"""Regularization and losses between rows on N ranks: the trajectory of one plain torch process on whole batches."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from multitask.config import RunConfig, parse_config
from multitask.data import Batch
from multitask.model import MultitaskModel
from multitask.objectives import Teacher
from tests.builders import merge, tiny_config
from tests.distributed.ranks import run_ranks
from tests.distributed.reference import reference_trajectory
from tests.plain_losses import plain_divergence, plain_smart

STEPS = 4
SMART = {"weight": 2.0, "noise": 0.01, "step_size": 0.05}
# So small that no element is ever dropped, but the two passes of SimCSE are allowed.
NO_DROPOUT = 1e-12
TEXTS = {
    "simcse": ({"text": "sentence"}, "sst-train.csv"),
    "ranking": ({"text": "sentence1", "text_pair": "sentence2"}, "quora-train.csv"),
    "triplets": ({"text": "sentence1", "text_pair": "sentence2", "negative": "id"}, "sts-train.csv"),
}


def _job(folder: Path, bert: Path, **changes: Any) -> dict[str, Any]:
    base = {
        "encoder": {"name": str(bert), "dropout": NO_DROPOUT},
        "combination": {"name": "pcgrad"},
        "training": {"clip_norm": 1.0},
        "optimizer": {"name": "adamw", "lr": 1e-3, "eps": 1e-4},
    }
    return merge(tiny_config(folder, **base), changes)


def _contrastive(*names: str) -> dict[str, Any]:
    return {
        name: {
            "kind": {"name": "contrastive", "temperature": 0.1},
            "columns": {"id": "id", **TEXTS[name][0]},
            "files": {"train": [TEXTS[name][1]]},
            "format": "cs224n",
            "batch_size": 7,
        }
        for name in names
    }


def _loss(config: RunConfig) -> Callable[[MultitaskModel, str, Batch, int], torch.Tensor]:
    """The loss of a whole global batch, without our objectives."""
    teachers: list[Teacher] = []

    def loss(model: MultitaskModel, task: str, batch: Batch, step: int) -> torch.Tensor:
        kind = config.tasks[task].kind
        if kind.name == "contrastive":
            return _ranking_loss(model, batch, kind.temperature)
        total = model.row_losses(task, batch)
        if config.regularization.smart is not None:
            total = total + plain_smart(model, config, task, batch, step)
        if config.regularization.bregman is not None:
            teacher = _teacher(teachers, model, config.regularization.bregman.momentum, step)
            distance = plain_divergence(task, model(task, batch), teacher.model(task, batch))
            total = total + config.regularization.bregman.weight * distance
        return total.mean()

    return loss


def _teacher(teachers: list[Teacher], model: MultitaskModel, momentum: float, step: int) -> Teacher:
    """The teacher of step number `step`, which has followed `step` updates; asked for in every step."""
    if not teachers:
        teachers.append(Teacher(model, momentum))
    teacher = teachers[0]
    followed = getattr(teacher, "followed", 0)
    if followed < step:
        with torch.no_grad():
            for own, p in zip(teacher.model.parameters(), model.parameters(), strict=True):
                own.copy_(momentum * own + (1 - momentum) * p)
        teacher.followed = step  # type: ignore[attr-defined]
    return teacher


def _ranking_loss(model: MultitaskModel, batch: Batch, temperature: float) -> torch.Tensor:
    vectors = model.encoder(batch.input_ids, batch.attention_mask, batch.token_type_ids)
    texts = vectors.unflatten(0, (batch.sequences, -1)) if batch.sequences > 1 else torch.stack([vectors, vectors])
    anchors, others = functional.normalize(texts[0], dim=-1), functional.normalize(texts[1:].flatten(0, 1), dim=-1)
    return functional.cross_entropy(anchors @ others.T / temperature, torch.arange(len(anchors)))


def _cases(folder: Path, bert: Path) -> dict[str, list[dict[str, Any]]]:
    """Name to jobs that must all give the same weights."""
    cosine = {"pair_encoding": {"name": "bi_encoder", "features": "cosine"}}
    cases: dict[str, dict[str, Any]] = {
        "smart": {"regularization": {"smart": SMART}},
        "smart-apart": {"regularization": {"smart": SMART | {"steps": 2}}, "tasks": {"quora": cosine, "sts": cosine}},
        "bregman": {"regularization": {"bregman": {"weight": 1.0, "momentum": 0.5}}},
        "contrastive": {"tasks": _contrastive("simcse", "ranking", "triplets")},
        "groups": {"combination": {"name": "pcgrad", "groups": [["sst", "sts"], ["quora"]]}},
    }
    grid = ((1, 1), (2, 3), (3, 2))
    return {
        name: [
            merge(_job(folder, bert, **changes), {"zero": {"stage": stage}, "training": {"accumulation": pieces}})
            for stage, pieces in grid
        ]
        for name, changes in cases.items()
    }


@pytest.fixture(scope="module")
def wanted(folder: Path, tiny_bert: Path) -> dict[str, dict[str, torch.Tensor]]:
    torch.set_num_threads(1)
    found = {}
    for name, jobs in _cases(folder, tiny_bert).items():
        config = parse_config(jobs[0], "test")
        found[name] = reference_trajectory(config, STEPS, _loss(config))
    return found


@pytest.mark.parametrize("world", [1, 2, 3])
def test_ranks_equal_one_process(
    world: int, folder: Path, tiny_bert: Path, wanted: dict[str, dict[str, torch.Tensor]]
) -> None:
    named = [(name, job) for name, jobs in _cases(folder, tiny_bert).items() for job in jobs]
    results = run_ranks(world, [job for _, job in named], folder / f"world{world}", STEPS)
    wrong = []
    for (name, job), result in zip(named, results, strict=True):
        for parameter, value in wanted[name].items():
            found = torch.from_numpy(result[parameter]).reshape(value.shape)
            error = (found - value).abs().max().item()
            if error > 3e-5 * value.abs().max().item() + 1e-6:
                wrong.append(
                    f"{name} zero{job['zero']['stage']} {parameter}: {error:.2e} beside {value.abs().max():.2e}"
                )
    assert not wrong, "\n".join(wrong[:20])


def test_every_case_differs_from_plain_training(
    wanted: dict[str, dict[str, torch.Tensor]], folder: Path, tiny_bert: Path
) -> None:
    """A step that forgets a term would be seen."""
    plain = reference_trajectory(parse_config(_job(folder, tiny_bert), "test"), STEPS)
    name = "encoder.model.encoder.layer.1.output.dense.weight"
    for case, weights in wanted.items():
        assert (weights[name] - plain[name]).abs().max() > 1e-4, case


ENCODERS: dict[str, dict[str, Any]] = {
    "frozen": {"phases": [{"encoder": "frozen"}], "combination": {"name": "sum"}},
    "gradual": {"phases": [{"encoder": "gradual", "epochs": 4, "steps_per_epoch": 1}]},
    "lora": {"encoder": {"adapter": {"name": "lora", "rank": 2}, "pooling": "attention"}},
    "projected-attention": {"encoder": {"adapter": {"name": "projected_attention", "width": 8, "heads": 2}}},
    "layer-decay": {"optimizer": {"layer_decay": 0.5}, "encoder": {"pooling": "mean_layers"}},
}


def test_what_is_trained_of_an_encoder_is_the_same_on_ranks(folder: Path, tiny_bert: Path) -> None:
    """Frozen, thawing and adapted encoders on two ranks, ZeRO 1 and 3, against one plain process."""
    torch.set_num_threads(1)
    named = [(name, stage) for name in ENCODERS for stage in (1, 3)]
    jobs = [merge(_job(folder, tiny_bert, **ENCODERS[name]), {"zero": {"stage": stage}}) for name, stage in named]
    results = run_ranks(2, jobs, folder / "encoders", STEPS)
    wrong = []
    for (name, stage), job, result in zip(named, jobs, results, strict=True):
        wanted = reference_trajectory(parse_config(job, "test"), STEPS)
        assert {n for n in result if not n.startswith("dev/")} == set(wanted)
        for parameter, value in wanted.items():
            error = (torch.from_numpy(result[parameter]).reshape(value.shape) - value).abs().max().item()
            if error > 3e-5 * value.abs().max().item() + 1e-6:
                wrong.append(f"{name} zero{stage} {parameter}: {error:.2e} beside {value.abs().max():.2e}")
    assert not wrong, "\n".join(wrong[:20])


def test_teacher_and_twofold_dropout_are_resumed_to_the_bit(folder: Path, tiny_bert: Path) -> None:
    """Two ranks, with dropout: a run cut off after two of four steps ends with the same bits as one that was not."""
    cases = {
        "bregman": {"regularization": {"bregman": {"weight": 1.0, "momentum": 0.5}}, "zero": {"stage": 3}},
        "contrastive": {"tasks": _contrastive("simcse", "triplets"), "training": {"accumulation": 2}},
    }

    def jobs(storage: str) -> list[dict[str, Any]]:
        place = {"cluster": {"storage": str(folder / storage)}, "encoder": {"dropout": 0.2}}
        return [merge(_job(folder, tiny_bert, **changes), place | {"name": name}) for name, changes in cases.items()]

    whole = run_ranks(2, jobs("whole"), folder / "whole-run", STEPS)
    run_ranks(2, jobs("parts"), folder / "first-part", 2, save=True)
    resumed = run_ranks(2, jobs("parts"), folder / "second-part", STEPS)
    for name, one, other in zip(cases, whole, resumed, strict=True):
        assert [n for n in one if not (one[n] == other[n]).all()] == [], name
