"""What is wrong with the folder of a run, and how it is mended so that a resume goes on as if nothing had happened."""

from collections.abc import Callable, Iterator
from pathlib import Path

from cluster.storage.checkpoint import (
    BEST_TABLES,
    FOLDER,
    MANIFEST,
    OTHER_FORMAT,
    PREDICTIONS,
    checkpoint_name,
    find_checkpoint,
    is_read,
    read_state,
    verify,
)
from cluster.storage.finding import Finding, remove_file, remove_folder
from cluster.storage.leftovers import find_leftovers
from cluster.storage.run_folder import RunFolder
from cluster.storage.storage import Storage
from multitask.config import parse_written
from multitask.errors import UserError
from multitask.export import check_export
from multitask.signature import SUFFIX, VARIABLE

_JSON = ("run.json", "history.json", "result.json", BEST_TABLES, "inherited.json")
_EXPORT = "export"


def check_run(storage: Storage, *, exports: bool = True) -> list[Finding]:
    """All findings of a run's folder; `exports`: whether it should have an export when it has finished.

    Raises:
        OSError, pyarrow.ArrowException: the storage does not answer, which says nothing of the run.
    """
    folder = RunFolder(storage)
    found = [*_check_files(folder), *check_checkpoints(storage), *find_leftovers(storage)]
    return [*found, *_check_export(folder, exports)]


def _check_files(folder: RunFolder) -> Iterator[Finding]:
    try:
        folder.config()
    except UserError as error:
        yield _config_finding(folder, str(error))
    for name in _JSON:
        try:
            folder.read_json(name)
        except UserError as error:
            advice = "set it aside: the next start rebuilds it from the checkpoint, as far as it can be"
            yield Finding(name, _after(error, name), advice, _set_aside(name))
    if folder.storage.exists(PREDICTIONS) and not _is_readable(folder.storage):
        yield Finding(
            PREDICTIONS, "cannot be read", "set it aside: the next best evaluation writes it", _set_aside(PREDICTIONS)
        )


def _config_finding(folder: RunFolder, problem: str) -> Finding:
    newest, _ = find_checkpoint(folder.storage)
    if newest is None:
        return Finding("config.yaml", problem, "no checkpoint has it: start the run again with its recipe")

    def mend(storage: Storage) -> None:
        own = RunFolder(storage)
        own.set_aside("config.yaml", problem)
        own.write_config(parse_written(read_state(storage, newest)["config"], newest))

    return Finding("config.yaml", problem, f"write it anew, as {newest} has it", mend)


def check_checkpoints(storage: Storage) -> Iterator[Finding]:
    """Checkpoints that do not count, and files in the others that belong to none.

    A damaged one is of no use where another is whole, unless it is the best one's and training is past it: then
    it is all that is left of the best.
    """
    problems = {name: verify(storage, f"{FOLDER}/{name}") for name in storage.folders(FOLDER)}
    whole = [name for name, problem in problems.items() if problem is None]
    best = _best(storage)
    for name, problem in problems.items():
        path = f"{FOLDER}/{name}"
        if problem is None:
            yield from _check_strays(storage, path)
        elif OTHER_FORMAT in problem:
            yield Finding(path, problem, "go on with the version that wrote it")
        elif VARIABLE in problem or "its manifest is that of" in problem:
            yield Finding(path, problem, "find out who wrote it; remove it by hand if it is not yours")
        elif not whole:
            yield Finding(path, problem, "no other is whole, so it stays: a start begins anew")
        elif name == best and name < max(whole):
            yield Finding(
                path, f"{problem}; it was the best", "it stays: `concord export --checkpoint last` exports another"
            )
        else:
            yield remove_folder(path, problem)


def _check_strays(storage: Storage, path: str) -> Iterator[Finding]:
    for name in storage.files(path):
        if not is_read(name) and name not in (BEST_TABLES, PREDICTIONS, MANIFEST, MANIFEST + SUFFIX):
            yield remove_file(f"{path}/{name}", "no file of the checkpoint")


def _check_export(folder: RunFolder, exports: bool) -> Iterator[Finding]:
    """A finished run's export that is not there, or not as it was written. Exports at a URI are not looked at."""
    storage = folder.storage
    if not storage.is_local:
        return
    try:
        result, config = folder.result() or {}, folder.config()
    except UserError:
        return
    missing = not storage.exists(_EXPORT)
    if missing and not (exports and config.cluster.export and result.get("status") in ("finished", "stopped")):
        return
    try:
        check_export(Path(storage.path(_EXPORT)))
    except UserError as error:
        problem = "it is missing" if missing else str(error)
        if VARIABLE in problem or "this version reads" in problem:
            yield Finding(_EXPORT, problem, f"`concord export {folder.location}` writes it anew")
        else:
            yield _export_finding(folder, problem, result.get("best_step"))


def _export_finding(folder: RunFolder, problem: str, best: int | None) -> Finding:
    if best is None or verify(folder.storage, f"{FOLDER}/{checkpoint_name(best)}"):
        return Finding(
            _EXPORT, problem, "the best checkpoint is not whole: `concord export --checkpoint last` exports another"
        )

    def mend(storage: Storage) -> None:
        from cluster.storage.export_checkpoint import export_checkpoint

        storage.delete_folder(_EXPORT)
        export_checkpoint(RunFolder(storage), best)

    return Finding(_EXPORT, problem, "export the best checkpoint again", mend)


def _best(storage: Storage) -> str | None:
    try:
        step = (RunFolder(storage).result() or {}).get("best_step")
    except UserError:
        newest, _ = find_checkpoint(storage)
        step = read_state(storage, newest).get("progress", {}).get("best_step") if newest else None
    return None if step is None else checkpoint_name(int(step))


def _is_readable(storage: Storage) -> bool:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        load(storage.read(PREDICTIONS))
    except SafetensorError:
        return False
    return True


def _set_aside(name: str) -> Callable[[Storage], None]:
    return lambda storage: RunFolder(storage).set_aside(name, "")


def _after(error: UserError, name: str) -> str:
    """The message without the place, which is said already."""
    return str(error).rpartition(f"{name}: ")[2]
