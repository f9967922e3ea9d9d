"""Share of the peak, memory and the slowest rank."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from cluster.step.stopwatch import Stopwatch
from cluster.training import device_figures
from cluster.training.accelerators import ACCELERATORS, accelerator_of
from cluster.training.device_figures import DeviceFigures
from multitask.config import parse_config
from multitask.data import prepare_tables
from multitask.model import build_model
from tests.builders import tiny_config

CPU = torch.device("cpu")
RECORD = {"throughput/tokens_per_s": 1000.0}


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H100 PCIe", "h100 pcie"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA A100-SXM4-40GB", "a100 40gb"),
        ("NVIDIA A100-PCIE-80GB", "a100 pcie"),
        ("Tesla T4", "t4"),
        ("NVIDIA L40S", "l40s"),
        ("NVIDIA L4", "l4"),
        ("NVIDIA GeForce RTX 4090", None),
    ],
)
def test_devices_are_known_by_the_names_of_their_drivers(name: str, key: str | None) -> None:
    assert accelerator_of(name) == (ACCELERATORS[key] if key else None)


def test_peak_is_that_of_the_precision() -> None:
    assert ACCELERATORS["a100"].peak("fp32") == 19.5
    assert ACCELERATORS["a100"].peak("fp32", tf32=True) == 156
    assert ACCELERATORS["a100"].peak("autocast", tf32=True) == ACCELERATORS["a100"].peak("autocast") == 312
    assert ACCELERATORS["v100"].peak("fp32", tf32=True) == 15.7
    assert ACCELERATORS["t4"].peak("bf16") is None
    assert (ACCELERATORS["t4"].peak("fp16"), ACCELERATORS["a100"].peak("fp16")) == (65, 312)


def figures(folder: Path, bert: Path, watch: Stopwatch, **cluster: Any) -> DeviceFigures:
    config = parse_config(tiny_config(folder, encoder={"name": str(bert)}, cluster=cluster), "test")
    return DeviceFigures(config, CPU, build_model(config), prepare_tables(config), watch)


def two_ranks(monkeypatch: pytest.MonkeyPatch, other: list[float]) -> None:
    def gather(into: list[torch.Tensor], own: torch.Tensor) -> None:
        into[0].copy_(own)
        into[1].copy_(torch.tensor(other))

    monkeypatch.setattr(device_figures, "dist", SimpleNamespace(get_world_size=lambda: 2, all_gather=gather))


def test_figures_are_over_all_ranks(folder: Path, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Stopwatch(CPU)
    made = figures(folder, tiny_bert, watch, peak_tflops=0.001)
    watch.seconds["forward/backward"], watch.seconds["communicate"] = 2.0, 50.0
    two_ranks(monkeypatch, [6.0, 2.0**50])
    found = made.beside(RECORD)
    assert found["throughput/tokens_per_s"] == 1000
    assert found["throughput/peak_memory_gib"] == 2.0**20
    assert found["throughput/slowest_rank"] == 1
    assert found["throughput/slowest_over_mean"] == 1.5
    # By hand: 2 layers of width 32 and 64 inside, and 12 FLOPs a pair of tokens and unit of width.
    lengths = torch.cat([torch.tensor(np.asarray(table.lengths)) for table in _tables(folder, tiny_bert)]).double()
    per_token = (
        6 * 2 * (4 * 32**2 + 2 * 32 * 64)
        + (12 * 2 * 32 * lengths.square().sum() + 2 * 32**2 * len(lengths)) / lengths.sum()
    )
    assert found["throughput/mfu"] == pytest.approx(1000 * float(per_token) / (2 * 1e9), rel=1e-6)
    # What was told is not counted again.
    watch.seconds["forward/backward"] = 12.0
    assert made.beside(RECORD)["throughput/slowest_rank"] == 0


def _tables(folder: Path, bert: Path) -> list[Any]:
    return list(prepare_tables(parse_config(tiny_config(folder, encoder={"name": str(bert)}), "test")).train.values())


def test_extra_passes_count_for_the_peak(folder: Path, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = figures(folder, tiny_bert, Stopwatch(CPU), peak_tflops=1)
    two_ranks(monkeypatch, [1.0, 1.0])
    extra = made.beside(RECORD | {"throughput/regularization_tokens": 0.5})
    assert extra["throughput/mfu"] == pytest.approx(2 * made.beside(RECORD)["throughput/mfu"])


def test_share_of_an_unknown_peak_is_not_told(folder: Path, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = figures(folder, tiny_bert, Stopwatch(CPU))
    two_ranks(monkeypatch, [1.0, 1.0])
    assert "throughput/mfu" not in made.beside(RECORD)
