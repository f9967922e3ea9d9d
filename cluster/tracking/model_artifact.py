"""An exported model as a W&B artifact."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import wandb

RECORD = "published.json"


def model_files(folder: Path) -> list[Path]:
    """The files of an exported model, without the record of where it was published."""
    return sorted(file for file in folder.rglob("*") if file.is_file() and file.name != RECORD)


def model_artifact(name: str, folder: Path) -> "wandb.Artifact":
    """The model in `folder`, without a copy: its files must stay until they are uploaded."""
    import wandb

    artifact = wandb.Artifact(name, type="model")
    for file in model_files(folder):
        artifact.add_file(str(file), str(file.relative_to(folder)), policy="immutable", skip_cache=True)
    return artifact
