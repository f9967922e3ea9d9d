"""What makers say of their accelerators: dense peaks, memory, links. From datasheets, none of it measured here."""

from dataclasses import dataclass

from multitask.config.training import Precision


@dataclass(frozen=True)
class Accelerator:
    """One device.

    `half`, `tf32`, `single`: dense peak in TFLOP/s of bf16 and fp16 (of fp16 alone where `bf16` is not), of fp32 by tensor cores, and of plain fp32; None
    where there is none. `memory_gib`, `memory_gb_s`: size and bandwidth of its memory. `link_gb_s`: to the others of its
    host, one direction. `source`: where that is said.
    """

    half: float | None
    tf32: float | None
    single: float
    memory_gib: float
    memory_gb_s: float
    link_gb_s: float
    source: str
    bf16: bool = True

    def peak(self, precision: Precision, tf32: bool = False) -> float | None:
        """Peak in TFLOP/s of a run of this precision; None where its tensor cores have none."""
        if precision == "fp32":
            return (self.tf32 if tf32 else None) or self.single
        return self.half if self.bf16 or precision == "fp16" else None


# Name to what it is; a device is the one whose name has all words of the key, the longest key first.
ACCELERATORS = {
    "b200": Accelerator(2250, 1100, 75, 180, 7700, 900, "NVIDIA HGX B200 datasheet"),
    "h200": Accelerator(989, 494, 67, 141, 4800, 450, "NVIDIA H200 datasheet, SXM"),
    "h100": Accelerator(989, 494, 67, 80, 3350, 450, "NVIDIA H100 datasheet, SXM"),
    "h100 pcie": Accelerator(756, 378, 51, 80, 2000, 64, "NVIDIA H100 datasheet, PCIe"),
    "a100": Accelerator(312, 156, 19.5, 80, 2039, 300, "NVIDIA A100 datasheet, SXM 80 GB"),
    "a100 40gb": Accelerator(312, 156, 19.5, 40, 1555, 300, "NVIDIA A100 datasheet, SXM 40 GB"),
    "a100 pcie": Accelerator(312, 156, 19.5, 80, 1935, 32, "NVIDIA A100 datasheet, PCIe 80 GB"),
    "l40s": Accelerator(362, 183, 91.6, 48, 864, 32, "NVIDIA L40S datasheet"),
    "l4": Accelerator(121, 60, 30.3, 24, 300, 32, "NVIDIA L4 datasheet"),
    "a10": Accelerator(125, 62.5, 31.2, 24, 600, 32, "NVIDIA A10 datasheet"),
    "v100": Accelerator(125, None, 15.7, 32, 900, 150, "NVIDIA V100 datasheet, SXM2", bf16=False),
    "t4": Accelerator(65, None, 8.1, 16, 320, 16, "NVIDIA T4 datasheet", bf16=False),
}


def accelerator_of(device_name: str) -> Accelerator | None:
    """What is known of a device by the name that its driver gives it, such as `NVIDIA A100-SXM4-40GB`."""
    words = set(device_name.lower().replace("-", " ").split())
    fitting = [key for key in ACCELERATORS if set(key.split()) <= words]
    return ACCELERATORS[max(fitting, key=len)] if fitting else None
