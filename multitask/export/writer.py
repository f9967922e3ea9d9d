"""Writes the folder."""

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from multitask.config import RunConfig
from multitask.data import load_tokenizer
from multitask.errors import UserError
from multitask.export.card import model_card
from multitask.model import ContrastiveHead, MultitaskModel, auto_class, merge_lora
from multitask.plain_json import encode_json
from multitask.signature import SUFFIX, sign

FORMAT = 2
DESCRIPTION = "concord.json"
SIGNATURE = DESCRIPTION + SUFFIX
HEADS = "heads.safetensors"
ENCODER = "model.safetensors"


def write_export(
    folder: Path,
    model: MultitaskModel,
    config: RunConfig,
    *,
    scores: Mapping[str, float],
    step: int,
    data_hashes: Mapping[str, str],
    versions: Mapping[str, str],
) -> None:
    """Write `model` (fp32) to `folder`; the folder appears whole or not at all.

    Encoder and tokenizer as Hugging Face lays them out; beside them all else that predicts, by its name in the model:
    heads, the tasks' adapter layers, what a pooling has learned. `concord.json` with tasks, config, scores, hashes; a model
    card. No file needs pickle. Low-rank updates are merged into the encoder. Of contrastive tasks their description alone.

    Raises:
        UserError: `folder` holds something that is no export.
    """
    _refuse_foreign(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = folder.parent / f".{folder.name}.{os.getpid()}.part"
    shutil.rmtree(made, ignore_errors=True)
    try:
        merge_lora(model.encoder.model).save_pretrained(made)
        load_tokenizer(config.encoder.name).save_pretrained(made)
        save_file(_beside_encoder(model), made / HEADS)
        description = _configured(config) | {
            **{"scores": dict(scores), "step": step, "data_hashes": dict(data_hashes), "versions": dict(versions)},
            "sha256": {file.name: file_hash(file) for file in sorted(made.iterdir())},
        }
        _write_signed(made, encode_json(description))
        opener = auto_class(model.encoder.model.config).__name__
        (made / "README.md").write_text(model_card(description, opener), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(made, folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _write_signed(folder: Path, description: bytes) -> None:
    (folder / DESCRIPTION).write_bytes(description)
    if (signature := sign(description)) is not None:
        (folder / SIGNATURE).write_bytes(signature)


def _refuse_foreign(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; name another folder")
    if folder.exists() and any(folder.iterdir()) and not (folder / DESCRIPTION).is_file():
        raise UserError(f"{folder} is not empty and holds no export; name another folder")


def _beside_encoder(model: MultitaskModel) -> dict[str, Tensor]:
    """All tensors that predictions need and that Hugging Face's encoder has not."""
    unread = tuple(
        f"{kind}.{task}."
        for task in model.heads
        if isinstance(model.head(task), ContrastiveHead)
        for kind in ("heads", "adapters")
    )
    tensors = model.state_dict().items()
    return {n: t.detach().cpu().contiguous() for n, t in tensors if not n.startswith(("encoder.model.", *unread))}


def file_hash(path: Path) -> str:
    """sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _configured(config: RunConfig) -> dict[str, Any]:
    """What the description says of the config."""
    return {
        "format": FORMAT,
        "tasks": {task: _describe(config, task) for task in config.tasks},
        "config": config.to_public(),
        "config_hash": config.trajectory_hash(),
    }


def _describe(config: RunConfig, task: str) -> dict[str, Any]:
    own = config.tasks[task]
    values = own.model_dump(mode="json", include={"kind", "pair_encoding"})
    return {**values, "pair": own.is_pair, "metric": own.selection_metric if own.is_scored else None}
