"""Encoders that are built unlike BERT, on two ranks: relative positions that are no module's input, and a table that two modules share."""

from pathlib import Path
from typing import Any

import torch

from tests.distributed.one_process import plain_trajectory
from tests.distributed.ranks import run_ranks
from tests.encoder_families import FAMILIES, STEPS, family_tree, prepare_folder, save_family


def _job(folder: Path, name: str, stage: int) -> dict[str, Any]:
    tree = family_tree(folder, folder / name) | {"zero": {"stage": stage}}
    return tree | {"optimizer": {"name": "adamw", "lr": 1e-3, "eps": 1e-4}}


def test_two_ranks_under_zero_equal_the_plain_trainer(tmp_path: Path) -> None:
    prepare_folder(tmp_path)
    names = ("DeBERTa v2, v3", "T5 encoder")
    for name in names:
        save_family(FAMILIES[name], tmp_path, name)
    cases = [(name, stage) for name in names for stage in (2, 3)]
    results = run_ranks(2, [_job(tmp_path, *case) for case in cases], tmp_path / "ranks", STEPS)
    wanted = {name: plain_trajectory(_job(tmp_path, name, 2), STEPS) for name in names}
    wrong = []
    for (name, stage), result in zip(cases, results, strict=True):
        assert {key for key in result if not key.startswith("dev/")} == set(wanted[name])
        for parameter, value in wanted[name].items():
            error = (torch.from_numpy(result[parameter]).reshape(value.shape) - value).abs().max().item()
            if error > 1e-5 * value.abs().max().item() + 2e-7:
                wrong.append(f"{name} zero{stage} {parameter}: {error:.2e} beside {value.abs().max():.2e}")
    assert not wrong, "\n".join(wrong)
