"""An exported model as a W&B artifact, linked to a collection of the registry."""

import hashlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cluster.sweeps.store import SweepStore
from cluster.tracking.login import sign_in
from cluster.tracking.model_artifact import RECORD, model_artifact, model_files
from cluster.tracking.run_lookup import find_run, local_folder
from cluster.training.observer import one_line
from multitask.config.cluster import TrackingConfig
from multitask.errors import UserError
from multitask.export import DESCRIPTION

BEST = "best"


@dataclass(frozen=True)
class Model:
    """An exported model: its folder, the name of its artifact, and how its runs were tracked."""

    folder: Path
    name: str
    tracking: TrackingConfig


@dataclass(frozen=True)
class Published:
    """What was published: `digest` is the sha256 of the model's files, `target` the collection in the registry."""

    artifact: str
    digest: str
    target: str
    aliases: tuple[str, ...]
    time: float


def registry_target(registry: str, collection: str) -> str:
    """The address of a collection in the registry."""
    return f"wandb-registry-{registry}/{collection}"


def publish_model(model: Model, target: str, aliases: tuple[str, ...], again: str) -> tuple[Published, bool]:
    """Send the model and link it; gives what is published, and whether this call did it.

    `again` is the command that does it later. What was published is kept in `published.json` in the model's folder.

    Raises:
        UserError: nobody is logged in, there is no network, or W&B refuses the model or the link.
    """
    digest = _digest(model.folder)
    known = read_published(model.folder)
    if known is not None and (known.digest, known.target, known.aliases) == (digest, target, aliases):
        return known, False
    entity = sign_in(f"{model.folder} is exported and not yet published; `{again}` does it later")
    published = Published(_send(model, entity, target, aliases), digest, target, aliases, time.time())
    (model.folder / RECORD).write_text(json.dumps(asdict(published), indent=1) + "\n")
    return published, True


def read_published(folder: Path) -> Published | None:
    """What was last published from `folder`; None where nothing was."""
    try:
        known: dict[str, Any] = json.loads((folder / RECORD).read_text())
        return Published(**known | {"aliases": tuple(known["aliases"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def find_model(name: str, storage: str) -> Model:
    """The export that `name` stands for: its folder, that of a run, or the best one of a sweep.

    Raises:
        UserError: there is none, or none is exported.
    """
    folder = Path(name).expanduser()
    if (folder / DESCRIPTION).is_file():
        return _model(folder)
    run = find_run(name, storage)
    if run is not None:
        place, command = local_folder(run.storage) / "export", f"concord export {name}"
    else:
        place = local_folder(SweepStore.find(name, storage).storage) / BEST
        command = f"concord best {name} --export {place}"
    if not (place / DESCRIPTION).is_file():
        raise UserError(f"{place}: no exported model; `{command}` writes it")
    return _model(place)


def _model(folder: Path) -> Model:
    try:
        config = json.loads((folder / DESCRIPTION).read_text())["config"]
        return Model(folder.absolute(), config["name"], TrackingConfig.model_validate(config["tracking"]))
    except (ValueError, KeyError) as error:
        raise UserError(f"{folder}/{DESCRIPTION}: damaged: {one_line(error)}") from None


def _digest(folder: Path) -> str:
    whole = hashlib.sha256()
    for file in model_files(folder):
        with file.open("rb") as stream:
            own = hashlib.file_digest(stream, "sha256").hexdigest()
        whole.update(f"{file.relative_to(folder)} {own}\n".encode())
    return whole.hexdigest()


def _send(model: Model, entity: str, target: str, aliases: tuple[str, ...]) -> str:
    """Log the artifact in a run of its own and link it; gives its name and version.

    Only ever online: offline, W&B's link raises a bare NotImplementedError.
    """
    import wandb

    tracking = model.tracking
    settings = wandb.Settings(console="off", silent=True, x_disable_stats=True, x_disable_meta=True, disable_code=True)
    try:
        with wandb.init(
            entity=tracking.entity or entity,
            project=tracking.project,
            group=tracking.group,
            job_type="publish",
            name=f"publish-{model.name}",
            mode="online",
            settings=settings,
        ) as run:
            sent = run.log_artifact(model_artifact(model.name, model.folder), aliases=list(aliases)).wait()
            run.link_artifact(sent, target, aliases=list(aliases))
            return str(sent.qualified_name)
    except Exception as error:
        raise UserError(f"W&B: {model.folder} was not published to {target}: {one_line(error)}") from None
