"""What a training keeps in its folder, so that it goes on to the bit: safetensors and JSON, the checksums last."""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from multitask.config import RunConfig
from multitask.data import check_same_rows
from multitask.errors import UserError
from multitask.export.writer import file_hash
from multitask.plain_json import encode_json

TENSORS, STATE, MANIFEST = "tensors.safetensors", "state.json", "manifest.json"
_KEPT = 2


@dataclass(frozen=True)
class Saved:
    """Tensors by kind and name (`weights`, `moments`, `best`, `teacher`), and what else there is as plain JSON values."""

    tensors: Mapping[str, Mapping[str, Tensor]]
    state: dict[str, Any]


class SavedSteps:
    """The newest two saved steps in a folder, each in a folder of its own that appears whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, step: int, saved: Saved) -> None:
        """Save what there is after `step` steps."""
        place = self._folder / f"step-{step:08}"
        made = self._folder / f".{place.name}.part"
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
        flat = {
            f"{kind}:{name}": t.detach().cpu().contiguous()
            for kind, own in saved.tensors.items()
            for name, t in own.items()
        }
        save_file(flat, made / TENSORS)
        (made / STATE).write_bytes(encode_json(saved.state))
        manifest = {name: file_hash(made / name) for name in (TENSORS, STATE)}
        (made / MANIFEST).write_bytes(encode_json(manifest))
        shutil.rmtree(place, ignore_errors=True)
        os.replace(made, place)
        for old in self._newest()[_KEPT:]:
            shutil.rmtree(old)

    def newest(self, config: RunConfig, data_hashes: Mapping[str, str]) -> Saved | None:
        """The newest step that is whole; None where there is none.

        Raises:
            UserError: the folder holds a training of another config or other data.
        """
        place = next((place for place in self._newest() if _is_whole(place)), None)
        if place is None:
            return None
        state = json.loads((place / STATE).read_text(encoding="utf-8"))
        if state["trajectory"] != config.trajectory_hash():
            raise UserError(f"folder: {self._folder} holds a training with another config; name another folder")
        check_same_rows(config, state["data"], data_hashes, f"name another folder than {self._folder}")
        tensors: dict[str, dict[str, Tensor]] = {}
        for full, tensor in load_file(place / TENSORS).items():
            kind, _, name = full.partition(":")
            tensors.setdefault(kind, {})[name] = tensor
        return Saved(tensors, state)

    def _newest(self) -> list[Path]:
        return sorted(self._folder.glob("step-*"), reverse=True)


def _is_whole(place: Path) -> bool:
    try:
        manifest = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
        return set(manifest) == {TENSORS, STATE} and all(file_hash(place / n) == h for n, h in manifest.items())
    except (OSError, ValueError):
        return False
