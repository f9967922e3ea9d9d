"""N ranks, any ZeRO stage, any split into micro-batches: the trajectory of the plain trainer on whole batches."""

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

from multitask.config import parse_config
from multitask.data import prepare_tables
from multitask.evaluation import train_scores
from multitask.model import build_model
from multitask.trainer.trainer import Trainer
from tests.builders import merge, tiny_config
from tests.distributed.one_process import plain_trajectory
from tests.distributed.ranks import run_ranks

STEPS = 5
BI_ENCODER = {"name": "bi_encoder", "features": "concat_difference_product"}


def _jobs(folder: Path, bert: Path) -> dict[str, dict[str, Any]]:
    jobs = {}
    for stage, pairs, method, pieces in product((1, 2, 3), ("cross", "bi"), ("sum", "pcgrad"), (1, 3)):
        jobs[f"zero{stage}-{pairs}-{method}-accumulation{pieces}"] = _job(folder, bert, stage, pairs, method, pieces)
    return jobs


def _job(folder: Path, bert: Path, stage: int, pairs: str, method: str, pieces: int) -> dict[str, Any]:
    tasks = {t: {"pair_encoding": BI_ENCODER} for t in ("quora", "sts")} if pairs == "bi" else {}
    return tiny_config(
        folder,
        encoder={"name": str(bert), "dropout": 0.1},
        tasks=tasks,
        zero={"stage": stage},
        combination={"name": method},
        training={"clip_norm": 1.0, "accumulation": pieces},
        # Adam divides rounding errors by their own size where a gradient is zero (a key's bias, say); eps keeps them small.
        optimizer={"name": "adamw", "lr": 1e-3, "eps": 1e-4},
    )


@pytest.fixture(scope="module")
def wanted(folder: Path, tiny_bert: Path) -> dict[str, dict[str, torch.Tensor]]:
    """The plain trainer's for each pair encoding and method; stage and accumulation must not matter."""
    return {
        f"{pairs}-{method}": plain_trajectory(_job(folder, tiny_bert, 1, pairs, method, 1), STEPS)
        for pairs, method in product(("cross", "bi"), ("sum", "pcgrad"))
    }


@pytest.mark.parametrize("world", [1, 2, 3])
def test_ranks_equal_one_process(
    world: int, folder: Path, tiny_bert: Path, wanted: dict[str, dict[str, torch.Tensor]]
) -> None:
    jobs = _jobs(folder, tiny_bert)
    results = run_ranks(world, list(jobs.values()), folder / f"world{world}", STEPS)
    wrong = []
    for name, result in zip(jobs, results, strict=True):
        _, pairs, method, _ = name.split("-")
        reference = wanted[f"{pairs}-{method}"]
        assert {key for key in result if not key.startswith("dev/")} == set(reference)
        for parameter, value in reference.items():
            found = torch.from_numpy(result[parameter]).reshape(value.shape)
            error = (found - value).abs().max().item()
            if error > 1e-5 * value.abs().max().item() + 2e-7:
                wrong.append(f"{name} {parameter}: {error:.2e} beside {value.abs().max():.2e}")
    assert not wrong, "\n".join(wrong)


def test_ranks_of_two_hosts_come_to_the_bits_of_those_of_one(folder: Path, tiny_bert: Path) -> None:
    """Also where half of them have one task and half another, and where every one has all."""
    jobs = [_job(folder, tiny_bert, stage, "bi", method, 1) for stage in (1, 3) for method in ("sum", "pcgrad")]
    one, two = (run_ranks(4, jobs, folder / f"hosts-of-{per_host}", STEPS, per_host=per_host) for per_host in (4, 2))
    for alone, apart in zip(one, two, strict=True):
        assert set(alone) == set(apart)
        assert all((alone[name] == apart[name]).all() for name in alone)


def _flat(result: dict[str, Any], names: list[str]) -> torch.Tensor:
    return torch.cat([torch.as_tensor(result[name]).reshape(-1) for name in names])


def test_bf16_and_autocast_move_as_fp32_does(
    folder: Path, tiny_bert: Path, wanted: dict[str, dict[str, torch.Tensor]]
) -> None:
    """Every ZeRO stage and precision on two ranks against the fp32 reference: the same movement but for bf16's two to three digits."""
    cases = [(stage, precision) for precision in ("bf16", "autocast") for stage in (1, 2, 3)]
    jobs = []
    for stage, precision in cases:
        job = _job(folder, tiny_bert, stage, "bi", "pcgrad", 1)
        jobs.append(job | {"precision": precision})
    results = run_ranks(2, jobs, folder / "precision", STEPS)
    start = {n: p.detach() for n, p in build_model(parse_config(jobs[0], "test")).named_parameters()}
    reference = wanted["bi-pcgrad"]
    names = [name for name, value in reference.items() if (value - start[name]).abs().max() > 1e-4]
    moved = _flat(reference, names) - _flat(start, names)
    other = _flat(wanted["bi-sum"], names) - _flat(start, names)
    # bf16 must be nearer to PCGrad in fp32 than PCGrad is to the plain sum.
    limit = (moved - other).norm() / moved.norm()
    for (stage, precision), result in zip(cases, results, strict=True):
        error = (_flat(result, names) - _flat(start, names) - moved).norm() / moved.norm()
        assert error < limit, f"zero{stage} {precision}: {error:.3f}, limit {limit:.3f}"


def test_two_ranks_in_fp16_move_as_the_plain_trainer_does_and_share_its_scale(folder: Path, tiny_bert: Path) -> None:
    """Overflows of the first steps included; what a rank rounds to fp16 is the sum over its own rows."""
    jobs = [
        _job(folder, tiny_bert, stage, "bi", "pcgrad", 1) | {"precision": "fp16", "name": f"fp16-{stage}"}
        for stage in (1, 3)
    ]
    config = parse_config(jobs[0], "test")
    trainer = Trainer(config, prepare_tables(config), torch.device("cpu"))
    start = trainer.step.weights.copy()
    steps = [trainer.train_step() for _ in range(8)]
    assert 0 < sum(step.overflowed for step in steps) < 6
    wanted = trainer.step.weights.copy()
    names = [name for name, value in wanted.items() if (value - start[name]).abs().max() > 1e-4]
    moved = _flat(wanted, names) - _flat(start, names)
    for job, found in zip(jobs, run_ranks(2, jobs, folder / "fp16", 8, save=True), strict=True):
        state = json.loads((folder / "runs" / job["name"] / "checkpoints/step-00000008/state.json").read_text())
        assert state["loss_scale"] == trainer.step.loss_scale.state_dict()
        assert (_flat(found, names) - _flat(start, names) - moved).norm() < 0.05 * moved.norm()


@pytest.mark.parametrize("world", [2, 3])
def test_every_dev_row_is_predicted_once_on_any_number_of_ranks(world: int, folder: Path, tiny_bert: Path) -> None:
    """20 dev rows in batches that do not divide by the ranks, under ZeRO 1 and 3, give one process's predictions."""
    jobs = [_job(folder, tiny_bert, stage, "cross", "sum", 1) for stage in (1, 3)]
    pairs = {
        "kind": {"name": "contrastive"},
        "columns": {"id": "id", "text": "sentence1", "text_pair": "sentence2"},
        "files": {split: [f"sts-{split}.csv"] for split in ("train", "dev")},
        "format": "cs224n",
    }
    jobs = [merge(job, {"training": {"score_train_rows": 13}, "tasks": {"pairs": pairs}}) for job in jobs]
    alone = run_ranks(1, jobs[:1], folder / "eval1", 0)[0]
    config = parse_config(jobs[0], "test")
    plain = train_scores(build_model(config), config, prepare_tables(config), torch.device("cpu"))
    assert len(plain) == 4 + 4 + 3
    for result in run_ranks(world, jobs, folder / f"eval{world}", 0):
        for task in ("sst", "quora", "sts", "pairs"):
            assert len(result[f"dev/{task}"]) == 20
            torch.testing.assert_close(torch.from_numpy(result[f"dev/{task}"]), torch.from_numpy(alone[f"dev/{task}"]))
        assert {key: result[f"dev/{key}"].item() for key in plain} == pytest.approx(plain, abs=1e-6)


def test_references_of_sum_and_pcgrad_differ(wanted: dict[str, dict[str, torch.Tensor]]) -> None:
    """The tiny tasks conflict, so that a step that forgets to project would be seen."""
    name = "encoder.model.encoder.layer.1.output.dense.weight"
    assert (wanted["cross-sum"][name] - wanted["cross-pcgrad"][name]).abs().max() > 1e-4


COMBINATIONS: dict[str, dict[str, Any]] = {
    "sum": {"name": "sum"},
    "pcgrad": {"name": "pcgrad"},
    "groups": {"name": "pcgrad", "groups": [["sst", "sts"], ["quora"]]},
}


def test_one_rank_is_the_plain_trainer_with_dropout(folder: Path, tiny_bert: Path) -> None:
    """Both draw the same masks, so that what remains is rounding: 1e-6 of the weights."""
    job = _job(folder, tiny_bert, 1, "cross", "sum", 1)
    jobs = [
        job | {"combination": own, "encoder": {"name": str(tiny_bert), "dropout": 0.1}} for own in COMBINATIONS.values()
    ]
    for name, tree, found in zip(COMBINATIONS, jobs, run_ranks(1, jobs, folder / "dropout", STEPS), strict=True):
        plain = plain_trajectory(tree, STEPS)
        difference = _flat(found, list(plain)) - _flat(plain, list(plain))
        assert difference.norm() <= 1e-6 * _flat(plain, list(plain)).norm(), name
