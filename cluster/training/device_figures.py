"""What a run gets out of its devices: the share of their peak, their memory, and which rank the others wait for."""

import resource
import sys
from collections.abc import Mapping

import numpy as np
import torch
import torch.distributed as dist

from cluster.step.stopwatch import Stopwatch
from cluster.training.accelerators import accelerator_of
from multitask.config import RunConfig
from multitask.data import Tables
from multitask.model import MultitaskModel, pass_cost

_GIB = 2**30
# Parts of a step in which a rank works and does not wait for others.
_OWN_WORK = ("data", "forward/backward", "regularization")
_MOST_ROWS = 10_000


def peak_flops(config: RunConfig, device: torch.device) -> float | None:
    """Peak FLOP/s of the device of a worker: `cluster.peak_tflops`, else what its maker says; None where neither is known."""
    if config.cluster.peak_tflops is not None:
        return config.cluster.peak_tflops * 1e12
    known = accelerator_of(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
    peak = known.peak(config.precision, config.training.tf32) if known else None
    return None if peak is None else peak * 1e12


def flops_per_token(model: MultitaskModel, tables: Tables) -> float:
    """Model FLOPs of training on one real token, at the lengths that training tables have; heads are left out, as too small to matter.

    Before DeepSpeed takes the model: ZeRO 3 leaves it no shapes.
    """
    lengths = [np.asarray(table.lengths[np.arange(min(table.rows, _MOST_ROWS))]) for table in tables.train.values()]
    every = np.concatenate(lengths).astype(np.float64)
    return pass_cost(model.encoder).flops.of(every.sum(), np.square(every).sum(), len(every)) / every.sum()


class DeviceFigures:
    """Figures for each record; all ranks ask for them together."""

    def __init__(
        self, config: RunConfig, device: torch.device, model: MultitaskModel, tables: Tables, watch: Stopwatch
    ) -> None:
        self._device, self._watch, self._before = device, watch, 0.0
        self.peak = peak_flops(config, device)
        self._per_token = flops_per_token(model, tables) if self.peak else 0.0

    def beside(self, record: Mapping[str, float]) -> dict[str, float]:
        """The `record` of the steps since the last one, with the figures beside it.

        `throughput/mfu`: model FLOPs over the peak of all devices (Chowdhery et al. 2022), where that is known; `throughput/peak_memory_gib`:
        of the rank that held most, since its start; with several ranks `throughput/slowest_rank`: the one that worked longest on its
        rows, and `throughput/slowest_over_mean`: how much longer than the mean rank.
        """
        work, memory = self._over_ranks()
        figures = {"throughput/peak_memory_gib": float(memory.max()) / _GIB}
        if self.peak:
            tokens = record["throughput/tokens_per_s"] / (1 - record.get("throughput/regularization_tokens", 0.0))
            figures["throughput/mfu"] = tokens * self._per_token / (self.peak * len(work))
        if len(work) > 1 and work.sum() > 0:
            figures["throughput/slowest_rank"] = int(work.argmax())
            figures["throughput/slowest_over_mean"] = float(work.max() / work.mean())
        return {**record, **figures}

    def restart(self) -> None:
        """Count work from now on."""
        self._before = self._worked()

    def _worked(self) -> float:
        return sum(self._watch.seconds.get(part, 0.0) for part in _OWN_WORK)

    def _over_ranks(self) -> tuple[np.ndarray, np.ndarray]:
        """By rank: seconds of own work since the last record, and bytes at the highest."""
        worked = self._worked()
        own = torch.tensor([worked - self._before, peak_memory(self._device)], dtype=torch.float64, device=self._device)
        self._before = worked
        everyone = [torch.empty_like(own) for _ in range(dist.get_world_size())]
        if len(everyone) > 1:
            dist.all_gather(everyone, own)
        else:
            everyone = [own]
        work, memory = torch.stack(everyone).cpu().numpy().T
        return work, memory


def peak_memory(device: torch.device) -> int:
    """Bytes at the highest: of the device's tensors, or of this process's resident set where it has no device of its own."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
