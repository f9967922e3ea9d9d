"""The machines that a plan is for: by the name of their GPU, from datasheets, or from a file of measured constants."""

import json
import re
from pathlib import Path

from pydantic import Field, ValidationError

from cluster.training.accelerators import ACCELERATORS
from multitask.config.base import Config
from multitask.config.messages import valid_names
from multitask.config.training import Precision
from multitask.errors import UserError, first_line

# What no datasheet says, taken for GPUs until one is measured.
_ATTAINED, _LAUNCH_S, _MEMORY_ATTAINED = 0.5, 5e-6, 0.8
_MESSAGE_S, _INSIDE_S, _OUTSIDE_S = 1e-6, 5e-6, 15e-6
_NETWORK = re.compile(r"(?i)^\s*([0-9.]+)\s*([GMT])b(?:it)?(?:/s|ps)?\s*$")
_BITS = {"M": 1e6, "G": 1e9, "T": 1e12}


class Machine(Config):
    """One device, its host and the network between hosts. `source` says where the constants come from."""

    name: str = Field(description="what it is called")
    flops: float = Field(gt=0, description="FLOP/s of one device, as an encoder's passes attain them")
    peak: float = Field(gt=0, description="FLOP/s of one device that its maker gives")
    memory_bytes: float = Field(gt=0, description="memory of one device")
    memory_bytes_per_s: float = Field(
        gt=0, description="of additions and copies of long vectors, bytes read and written together"
    )
    launch_s: float = Field(ge=0, description="the least time from one operation to the next")
    message_s: float = Field(ge=0, description="the least time from one message of a device to its next")
    inside_s: float = Field(ge=0, description="time of a message between devices of a host, however short")
    inside_bytes_per_s: float = Field(gt=0, description="from one device to others of its host, one direction")
    outside_s: float = Field(ge=0, description="time of a message between hosts, however short")
    outside_bytes_per_s: float = Field(gt=0, description="out of one host, all its devices together, one direction")
    devices_at_once: int | None = Field(
        default=None, ge=1, description="how many devices really run at once, such as a host's cores"
    )
    source: str = Field(description="where these constants come from")


def machine(gpu: str, network: str, precision: Precision) -> Machine:
    """The machines of GPUs called `gpu` on a `network` such as `200Gb`, or those of the JSON file `gpu`.

    Raises:
        UserError: no such GPU is known, the file or the network is not as it must be, or the GPU has no peak for `precision`.
    """
    if gpu.endswith(".json"):
        return _from_file(gpu)
    name = gpu.lower().replace("-", " ").replace("_", " ")
    if name not in ACCELERATORS:
        raise UserError(
            f"--gpu: {valid_names(gpu, sorted(ACCELERATORS))}; or a .json file of measured constants (docs/scale.md)"
        )
    known = ACCELERATORS[name]
    peak = known.peak(precision)
    if peak is None:
        raise UserError(f"--gpu: a {name} has no fast {precision}; say precision=fp16")
    return Machine(
        name=name,
        flops=peak * 1e12 * _ATTAINED,
        peak=peak * 1e12,
        memory_bytes=known.memory_gib * 2**30,
        memory_bytes_per_s=known.memory_gb_s * 1e9 * _MEMORY_ATTAINED,
        launch_s=_LAUNCH_S,
        message_s=_MESSAGE_S,
        inside_s=_INSIDE_S,
        inside_bytes_per_s=known.link_gb_s * 1e9,
        outside_s=_OUTSIDE_S,
        outside_bytes_per_s=bytes_per_s(network),
        source=f"{known.source}. Assumed: {_ATTAINED:.0%} of its peak FLOP/s and {_MEMORY_ATTAINED:.0%} of its memory's bandwidth, "
        f"{_LAUNCH_S * 1e6:g} µs an operation, {_INSIDE_S * 1e6:g} µs to a GPU of the host, {_OUTSIDE_S * 1e6:g} µs to one of another, "
        f"{_MESSAGE_S * 1e6:g} µs from message to message. Nothing was measured on such a machine",
    )


def bytes_per_s(network: str) -> float:
    """Bytes a second of a network that is called by its bits, such as `200Gb`.

    Raises:
        UserError: it is not called so.
    """
    found = _NETWORK.match(network)
    if found is None or not float(found[1]):
        raise UserError(f"--network must be bits a second such as 25Gb or 200Gb, got {network!r}")
    return float(found[1]) * _BITS[found[2].upper()] / 8


def _from_file(path: str) -> Machine:
    try:
        return Machine.model_validate(json.loads(Path(path).read_text(encoding="utf-8")))
    except OSError as error:
        raise UserError(f"--gpu: cannot read {path}: {error.strerror}") from None
    except ValidationError as error:
        raise UserError(
            f"--gpu: {path}: {'.'.join(map(str, error.errors()[0]['loc']))}: {error.errors()[0]['msg']}"
        ) from None
    except ValueError as error:
        raise UserError(f"--gpu: {path} is not valid JSON: {first_line(error)}") from None
