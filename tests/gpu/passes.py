"""What each way of computing the encoder's passes gives: tokens a second beside the default, and whether the step stays what it was."""

import statistics
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch

from multitask.config.training import Precision
from multitask.determinism import deterministic
from multitask.errors import UserError
from multitask.trainer.result import StepResult
from tests.benchmarks.measured_step import batches, build_step, config, share
from tests.gpu.row import VOCABULARY, Place, Row
from tests.gpu.speed import TOKENS, seconds


class _Way(NamedTuple):
    """Keys of the recipe; `error`: the most by which losses and norm may differ from the default's, as a share of them."""

    keys: dict[str, Any]
    error: float = 1e-4
    precision: Precision = "fp32"


WAYS = {
    "attention eager": _Way({"encoder": {"attention": "eager"}}),
    "attention flash": _Way({"encoder": {"attention": "flash"}}, 3e-2, "autocast"),
    "checkpointing": _Way({"encoder": {"checkpointing": True}}),
    "compile": _Way({"training": {"compile": True}}),
    "compile, autocast": _Way({"training": {"compile": True}}, 3e-2, "autocast"),
    "tf32": _Way({"training": {"tf32": True}}, 1e-2),
    "deterministic": _Way({"training": {"deterministic": True}}),
}
# In its small form each is compiled for a minute, and the other one shows it.
_NOT_SMALL = "compile, autocast"
Run = Callable[[], StepResult]


def rows(place: Place) -> Iterator[Row]:
    """By encoder; each beside the default of its precision, without dropout, of which the ways draw other masks."""
    for size in place.sizes:
        for name, way in WAYS.items():
            if not (place.small and name == _NOT_SMALL):
                yield _beside_default(place, size, name, way)


def _beside_default(place: Place, size: str, name: str, way: _Way) -> Row:
    what = f"{size}, {way.precision}: {name}"
    if name == "tf32" and not place.is_cuda:
        return Row("passes", what, "not measured", "no GPU")
    default = _run(place, size, _Way({}, precision=way.precision))
    try:
        run = _run(place, size, way)
    except UserError as error:
        return Row("passes", what, "not measured", str(error))
    wanted, found = _numbers(default()), _numbers(run())
    error = float(((found - wanted).abs() / wanted.abs()).max())
    taken = {key: statistics.median(own) for key, own in seconds(place, {"default": default, name: run}).items()}
    rows_of, tokens = _sizes(place)
    speed = f"{3 * rows_of * tokens / taken[name]:,.0f} tok/s"
    beside = f"{taken[name] / taken['default']:.2f} × the default's time, off by {error:.0e}"
    return Row("passes", what, speed, beside, error <= way.error)


def _run(place: Place, size: str, way: _Way) -> Run:
    own = {**way.keys, "encoder": {"dropout": 0.0, **way.keys.get("encoder", {})}}
    settings = config(str(place.encoder(size)), own, 1, way.precision)
    whole = batches(*_sizes(place), VOCABULARY)
    with deterministic(settings.training.deterministic):
        step = build_step(settings, whole, place.session)
    work = share(whole, 0, 1, packed=True)

    def run() -> StepResult:
        with deterministic(settings.training.deterministic):
            return step.run(work, 1e-7)

    return run


def _sizes(place: Place) -> tuple[int, int]:
    """Rows and tokens of a batch."""
    return (4, 16) if place.small else (32, TOKENS)


def _numbers(result: StepResult) -> torch.Tensor:
    """Losses and the norm of the gradient of a step."""
    return torch.tensor([*result.losses.values(), float(result.norm)], dtype=torch.float64)
