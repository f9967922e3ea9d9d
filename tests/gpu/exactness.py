"""One GPU under ZeRO 1 to 3 beside the plain trainer on the CPU, and a run that is resumed beside one that is not."""

from collections.abc import Iterator
from itertools import product

import torch
from torch import Tensor

from cluster.step.stopwatch import Stopwatch
from cluster.storage.run_folder import RunFolder
from cluster.training.loop import Run
from cluster.training.worker import open_tables
from multitask.config import RunConfig
from multitask.model import build_model
from multitask.trainer.record import TrainRecord
from tests.distributed.one_process import plain_trajectory
from tests.gpu.row import Place, Row

STEPS = 6
_CHANGES = {
    "encoder": {"dropout": 0.1},
    "training": {"clip_norm": 1.0},
    # As in tests/distributed: Adam divides rounding errors by their own size where a gradient is zero.
    "optimizer": {"name": "adamw", "lr": 1e-3, "eps": 1e-4},
}


def rows(place: Place) -> Iterator[Row]:
    """ZeRO stages in fp32 and bf16, then resuming."""
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    first = place.recipe("exact", **_CHANGES)
    start = {name: own.detach() for name, own in build_model(first).named_parameters() if own.requires_grad}
    plain = plain_trajectory(first.to_dict() | {"cluster": {"device": "cpu"}}, STEPS)
    for stage, precision in product((1, 2, 3), ("fp32", "bf16")):
        config = place.recipe(f"zero{stage}-{precision}", **_CHANGES, zero={"stage": stage}, precision=precision)
        found = weights(trained(place, config, STEPS))
        if precision == "fp32":
            error = max(_error(found[name], own) for name, own in plain.items())
            yield Row("exactness", f"ZeRO {stage} fp32", f"{error:.1e}", "plain trainer on the CPU", error < 1e-4)
        else:
            cosine = _cosine(_moved(found, start), _moved(plain, start))
            yield Row("exactness", f"ZeRO {stage} bf16", f"cosine {cosine:.3f}", "fp32's movement", cosine > 0.8)
    yield from _resumed(place)


def _resumed(place: Place) -> Iterator[Row]:
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        for stage in (1, 2, 3):
            whole = weights(trained(place, place.recipe(f"whole{stage}", **_CHANGES, zero={"stage": stage}), STEPS))
            config = place.recipe(f"cut{stage}", **_CHANGES, zero={"stage": stage})
            run = trained(place, config, STEPS // 2)
            run._save()
            run.saver.wait()
            again = weights(trained(place, config, STEPS))
            same = all(torch.equal(again[name], own) for name, own in whole.items())
            yield Row(
                "exactness", f"ZeRO {stage} resumed", "same bits" if same else "other bits", "uninterrupted", same
            )
    finally:
        torch.use_deterministic_algorithms(False)


def trained(place: Place, config: RunConfig, steps: int) -> Run:
    """The run of `config` after `steps` steps, from its newest checkpoint on."""
    session = place.session
    run = Run(config, session, RunFolder.of(config), open_tables(config, session), Stopwatch(place.device))
    run.restore()
    run.engine.deepspeed.train()
    for _ in range(run.progress.step, steps):
        run.train_step(TrainRecord())
    return run


def weights(run: Run) -> dict[str, Tensor]:
    """Name to fp32 weight on the CPU, flat, of a run on one rank."""
    masters, [owned] = run.engine.partition.masters, run.engine.partition.owned
    return {
        name: masters[own.group].detach()[own.offset : own.offset + own.size].float().cpu().clone()
        for name, own in owned.items()
    }


def _error(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted.flatten()).abs().max() / wanted.abs().max().clamp(min=1e-3))


def _moved(found: dict[str, Tensor], start: dict[str, Tensor]) -> Tensor:
    return torch.cat(
        [found[name].flatten().float() - own.flatten().float().cpu() for name, own in sorted(start.items())]
    )


def _cosine(first: Tensor, second: Tensor) -> float:
    return float(torch.cosine_similarity(first.double(), second.double(), dim=0))
