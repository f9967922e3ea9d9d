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
    for stage, method, every in ((1, "sum", 1), (1, "pcgrad", 1), (3, "pcgrad", 1), (1, "sum", _STEPS)):
        what = f"{method}, ZeRO {stage}" + (f", a look every {every}" if every > 1 else "")
        if not place.is_cuda:
            yield Row("waits", what, "not counted", "no GPU")
            continue
        name, looks = f"waits-{method}{stage}-{every}", {"check_every": every}
        config = place.recipe(name, combination={"name": method}, zero={"stage": stage}, training=looks)
        run = trained(place, config, 2)
        torch.cuda.synchronize()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                for _ in range(_STEPS):
                    run.train_step(TrainRecord())
                run.looks.look(run.progress, TrainRecord())
            finally:
                torch.cuda.set_sync_debug_mode("default")
        waits = [str(own.message) for own in caught if "synchronizing" in str(own.message)]
        yield Row("waits", what, f"{len(waits) / _STEPS:g} a step")
