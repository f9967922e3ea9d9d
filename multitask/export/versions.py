"""The packages that a result depends on."""

import importlib.metadata

VERSIONED = (
    "concord-mtl",
    "torch",
    "transformers",
    "deepspeed",
    "ray",
    "wandb",
    "torchjd",
    "pyarrow",
    "peft",
    "pytorch_optimizer",
    "optuna",
)


def installed_versions() -> dict[str, str]:
    """Versions of the packages that a result depends on."""
    found = {}
    for name in VERSIONED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
