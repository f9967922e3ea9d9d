"""Regularization and losses between rows on N ranks: the trajectory of the plain trainer on whole batches."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.builders import merge, tiny_config
from tests.distributed.one_process import plain_trajectory
from tests.distributed.ranks import run_ranks

STEPS = 4
SMART = {"weight": 2.0, "noise": 0.01, "step_size": 0.05}
# So small that no element is ever dropped, but the two passes of SimCSE are allowed.
NO_DROPOUT = 1e-12
TEXTS = {
    "simcse": ({"text": "sentence"}, "sst-train.csv"),
    "ranking": ({"text": "sentence1", "text_pair": "sentence2"}, "quora-train.csv"),
    # Six scores for seven rows, as their positives: equal texts in every batch.
    "triplets": ({"text": "sentence1", "text_pair": "similarity", "negative": "sentence2"}, "sts-train.csv"),
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


def _cases(folder: Path, bert: Path) -> dict[str, list[dict[str, Any]]]:
    """Name to jobs that must all give the same weights."""
    cosine = {"pair_encoding": {"name": "bi_encoder", "features": "cosine"}}
    scaled = cosine | {"head": {"name": "scaled"}}
    ordered = {"kind": {"ordered": True}}
    balanced = {"name": "cross_entropy", "class_weights": "balanced", "label_smoothing": 0.1}
    cases: dict[str, dict[str, Any]] = {
        "smart": {"regularization": {"smart": SMART}, "encoder": {"dropout": 0.1}},
        "smart-apart": {
            "regularization": {"smart": SMART | {"steps": 2, "norm_level": "row", "radius": 0.03}},
            "tasks": {"quora": cosine, "sts": cosine},
        },
        "bregman": {"regularization": {"bregman": {"weight": 1.0, "momentum": 0.5}}},
        "contrastive": {
            "tasks": _contrastive("simcse", "ranking", "triplets")
            | {"sts": scaled | {"loss": {"name": "angle"}}, "sst": ordered | {"loss": {"name": "cumulative_link"}}}
        },
        "groups": {
            "combination": {"name": "pcgrad", "groups": [["sst", "sts"], ["quora"]]},
            "tasks": {
                "sts": scaled | {"loss": {"name": "cosent"}},
                "sst": ordered | {"loss": {"name": "corn"}},
                "quora": {"loss": balanced},
            },
        },
        "heads": {"combination": {"name": "pcgrad", "scope": "all", "reduction": "mean"}},
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
    return {name: plain_trajectory(jobs[0], STEPS) for name, jobs in _cases(folder, tiny_bert).items()}


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
    plain = plain_trajectory(_job(folder, tiny_bert), STEPS)
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
    """Frozen, thawing and adapted encoders on two ranks, ZeRO 1 and 3, against the plain trainer."""
    named = [(name, stage) for name in ENCODERS for stage in (1, 3)]
    jobs = [merge(_job(folder, tiny_bert, **ENCODERS[name]), {"zero": {"stage": stage}}) for name, stage in named]
    results = run_ranks(2, jobs, folder / "encoders", STEPS)
    wrong = []
    for (name, stage), job, result in zip(named, jobs, results, strict=True):
        wanted = plain_trajectory(job, STEPS)
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
