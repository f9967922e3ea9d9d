"""Every combination and setting of one on ranks: the trajectory of the plain trainer."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.builders import tiny_config
from tests.distributed.one_process import plain_trajectory
from tests.distributed.ranks import run_ranks
from tests.unit.multitask.combination.methods import METHODS, NEEDED

STEPS = 3
GROUPS = [["sst", "sts"], ["quora"]]
# Sum and PCGrad are in test_exactness; the mean has loss weights of another size, which Adam does not see.
CASES: dict[str, dict[str, Any]] = {
    **{
        name: {"name": name, **NEEDED.get(name, {})} for name in METHODS if name not in ("sum", "mean", "pcgrad", "dwa")
    },
    "dwa": {"name": "dwa", "window": 1},
    "layers": {"name": "pcgrad", "granularity": "layer"},
    "parameters": {"name": "aligned_mtl", "granularity": "parameter"},
    "kept weights": {"name": "cagrad", "every": 2, "granularity": "layer"},
    "heads too": {"name": "pcgrad", "scope": "all", "reduction": "mean"},
    "groups": {"name": "fairgrad", "groups": GROUPS, "strength": 0.5},
    "later": {"name": "normalized", "after": 1},
    "inside": {"name": "gradvac", "groups": GROUPS, "inside": {"name": "mgda"}, "granularity": "layer"},
    "losses inside": {"name": "upgrad", "groups": GROUPS, "inside": {"name": "uncertainty", "lr": 0.3}, "scope": "all"},
    "kept inside": {"name": "nash_mtl", "groups": GROUPS, "inside": {"name": "gradnorm", "lr": 0.3}, "every": 2},
    "grouped coordinates": {"name": "graddrop", "groups": GROUPS},
}


def _job(folder: Path, bert: Path, combination: dict[str, Any], stage: int) -> dict[str, Any]:
    return tiny_config(
        folder,
        encoder={"name": str(bert), "dropout": 0.1},
        zero={"stage": stage},
        combination=combination,
        phases=[{"sampling": {"name": "round_robin"}}],
        training={"clip_norm": 1.0, "accumulation": 2},
        optimizer={"name": "adamw", "lr": 1e-3, "eps": 1e-4},
    )


@pytest.fixture(scope="module")
def wanted(folder: Path, tiny_bert: Path) -> dict[str, dict[str, torch.Tensor]]:
    return {name: plain_trajectory(_job(folder, tiny_bert, own, 1), STEPS) for name, own in CASES.items()}


@pytest.mark.parametrize("world", [2, pytest.param(1, marks=pytest.mark.long), pytest.param(3, marks=pytest.mark.long)])
def test_ranks_equal_one_process(
    world: int, folder: Path, tiny_bert: Path, wanted: dict[str, dict[str, torch.Tensor]]
) -> None:
    """Each combination under another stage on each number of ranks."""
    stages = [(number + world) % 3 + 1 for number in range(len(CASES))]
    jobs = [_job(folder, tiny_bert, own, stage) for own, stage in zip(CASES.values(), stages, strict=True)]
    wrong = []
    for name, stage, found in zip(CASES, stages, run_ranks(world, jobs, folder / f"w{world}", STEPS), strict=True):
        for parameter, value in wanted[name].items():
            error = (torch.from_numpy(found[parameter]).reshape(value.shape) - value).abs().max().item()
            if error > 2e-5 * value.abs().max().item() + 5e-7:
                wrong.append(f"{name} zero{stage} {parameter}: {error:.2e} beside {value.abs().max():.2e}")
    assert not wrong, "\n".join(wrong)


def test_every_case_ends_elsewhere(wanted: dict[str, dict[str, torch.Tensor]], folder: Path, tiny_bert: Path) -> None:
    """A step that forgets the combination would be seen."""
    name = "encoder.model.encoder.layer.1.output.dense.weight"
    total = plain_trajectory(_job(folder, tiny_bert, {"name": "sum"}, 1), STEPS)[name]
    alike = [case for case, found in wanted.items() if (found[name] - total).abs().max() < 2e-5]
    assert alike == []
