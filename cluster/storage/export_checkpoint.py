"""From a checkpoint to an export."""

import tempfile
from pathlib import Path
from typing import Any

import torch

from cluster.storage.checkpoint import FOLDER, checkpoint_name, find_checkpoint, read_state, verify
from cluster.storage.run_folder import RunFolder
from cluster.storage.shard_file import load_weights
from cluster.storage.storage import Storage
from cluster.zero.engine import import_deepspeed
from multitask.config import RunConfig, parse_written
from multitask.errors import UserError
from multitask.export import write_export
from multitask.export.versions import installed_versions
from multitask.model import MultitaskModel, build_model
from multitask.score_names import is_dev_score
from multitask.signature import signature_key


def export_run(run: str, target: str | None, which: str) -> str:
    """Export a checkpoint (`best`, `last` or a step) of the run in folder or URI `run`; gives the export's place.

    Raises:
        UserError: there is no run, or no such checkpoint.
    """
    folder = RunFolder(Storage(run))
    folder.config()
    step = _step(folder, which)
    return export_checkpoint(folder, step, Path(target) if target else None)[1]


def export_checkpoint(folder: RunFolder, step: int, target: Path | None = None) -> tuple[str, str]:
    """Export the checkpoint after `step` steps to `target`, or to `export` in the run folder.

    Gives the places of checkpoint and export.

    Raises:
        UserError: the checkpoint is torn or altered.
    """
    storage, path = folder.storage, _whole(folder, step)
    config, state = folder.config(), read_state(storage, path)
    _check_config(folder, config, state)
    model = build_model(config)
    _overlay(model, load_weights(storage, path))
    history = [h for h in state["progress"]["history"] if h["step"] == step]
    scores = {k: v for k, v in history[-1].items() if is_dev_score(k)} if history else {}
    about: dict[str, Any] = {"scores": scores, "data_hashes": state["data"], "versions": installed_versions()}

    def write(place: Path) -> None:
        # Saving asks accelerate about DeepSpeed, which then introduces itself on stderr.
        import_deepspeed()
        write_export(place, model, config, step=step, **about)

    if target is not None or storage.is_local:
        place = target or Path(storage.path("export"))
        if target is None:
            storage.check_owner()
        write(place)
        return storage.path(path), str(place)
    with tempfile.TemporaryDirectory() as temporary:
        write(Path(temporary) / "export")
        storage.upload_folder(Path(temporary) / "export", "export")
    return storage.place(path), storage.place("export")


def last_weights(run: str) -> tuple[dict[str, torch.Tensor], int]:
    """The trained parameters of the last checkpoint of the run in folder or URI `run`, flattened, in fp32, by name; and its step.

    Raises:
        UserError: there is no run or no checkpoint, or it is torn or altered.
    """
    folder = RunFolder(Storage(run))
    folder.config()
    step = _step(folder, "last")
    return load_weights(folder.storage, _whole(folder, step)), step


def _whole(folder: RunFolder, step: int) -> str:
    """The place of the checkpoint after `step` steps, which is whole."""
    path = f"{FOLDER}/{checkpoint_name(step)}"
    if problem := verify(folder.storage, path):
        raise UserError(f"{folder.storage.place(path)}: {problem}")
    return path


def _check_config(folder: RunFolder, config: RunConfig, state: dict[str, Any]) -> None:
    """The config of a folder is not signed, that in a checkpoint is."""
    if signature_key() is not None and config.trajectory_hash() != parse_written(state["config"], "").trajectory_hash():
        raise UserError(f"{folder.location}/config.yaml is not the config that the signed checkpoint was trained by")


def _overlay(model: MultitaskModel, weights: dict[str, torch.Tensor]) -> None:
    trainable = {n: p for n, p in model.named_parameters() if p.requires_grad}
    if set(trainable) != set(weights):
        odd = sorted(set(trainable) ^ set(weights))[0]
        raise UserError(f"encoder.name: checkpoint and encoder do not belong together, they differ in {odd}")
    with torch.no_grad():
        for name, parameter in trainable.items():
            parameter.copy_(weights[name].view_as(parameter))


def _step(folder: RunFolder, which: str) -> int:
    named = [name.removeprefix("step-") for name in folder.storage.folders(FOLDER)]
    steps = [int(step) for step in named if step.isdigit()]
    if not steps:
        raise UserError(f"{folder.location} holds no checkpoint yet")
    if which == "last":
        return steps[-1]
    if which == "best":
        result = _result(folder)
        if (best := result.get("best_step")) is None:
            reason = result.get("error") or "no checkpoint was evaluated yet"
            raise UserError(f"{folder.location}: {reason}; use concord export RUN --checkpoint last")
        return int(best)
    if not which.isdigit() or int(which) not in steps:
        raise UserError(f"--checkpoint must be best, last or one of {', '.join(map(str, steps))}, got {which!r}")
    return int(which)


def _result(folder: RunFolder) -> dict[str, Any]:
    """`result.json`, or what the newest checkpoint says where that is damaged or missing."""
    try:
        result = folder.result()
    except UserError:
        result = None
    newest = find_checkpoint(folder.storage)[0] if result is None else None
    return result or (read_state(folder.storage, newest)["progress"] if newest else {})
