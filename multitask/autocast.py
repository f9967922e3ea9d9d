"""In what precision a forward pass runs."""

import torch

from multitask.config.training import Precision

_HALVES = {"autocast": torch.bfloat16, "fp16": torch.float16}


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Inside, matrix products on `device` are of 16 bits where `precision` keeps fp32 weights and says so."""
    return torch.autocast(device.type, _HALVES.get(precision), enabled=precision in _HALVES)
