"""How often the host waits for the GPU in one step."""

import warnings
from collections.abc import Iterator

import torch

from multitask.trainer.record import TrainRecord
from tests.gpu.exactness import trained
from tests.gpu.row import Place, Row

_STEPS = 5


def rows(place: Place) -> Iterator[Row]:
    """By combination and ZeRO stage, counted by CUDA itself."""
    for stage, method in ((1, "sum"), (1, "pcgrad"), (3, "pcgrad")):
        what = f"{method}, ZeRO {stage}"
        if not place.is_cuda:
            yield Row("waits", what, "not counted", "no GPU")
            continue
        config = place.recipe(f"waits-{method}{stage}", combination={"name": method}, zero={"stage": stage})
        run = trained(place, config, 2)
        torch.cuda.synchronize()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                for _ in range(_STEPS):
                    run.train_step(TrainRecord())
            finally:
                torch.cuda.set_sync_debug_mode("default")
        waits = [str(own.message) for own in caught if "synchronizing" in str(own.message)]
        yield Row("waits", what, f"{len(waits) / _STEPS:g} a step")
