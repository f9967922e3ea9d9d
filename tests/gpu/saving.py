"""For how long a checkpoint holds training up, beside the time that writing it takes."""

import time
from collections.abc import Iterator

import torch

from tests.gpu.exactness import trained
from tests.gpu.row import Place, Row


def rows(place: Place) -> Iterator[Row]:
    """By encoder."""
    for size in place.sizes:
        run = trained(
            place, place.recipe(f"saving-{size}", encoder={"name": str(place.encoder(size)), "dropout": 0.1}), 2
        )
        # The first one also allocates what the later ones keep.
        for _ in range(2):
            if place.is_cuda:
                torch.cuda.synchronize()
            start = time.perf_counter()
            run._save()
            held = time.perf_counter() - start
            run.saver.wait()
            whole = time.perf_counter() - start
            run.progress.step += 1
        yield Row("checkpoint", size, f"{held * 1e3:.1f} ms", f"{whole * 1e3:.1f} ms in all ({held / whole:.0%})")
