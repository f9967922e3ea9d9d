"""What a user asks of a cluster, checked, with all that follows from it."""

import re
import shlex
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Any

from infra.kinds import KINDS, Kind
from multitask.errors import UserError

_NAME = re.compile(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?")
_IMAGE = re.compile(r"[a-z0-9][\w.:/-]*(:[\w][\w.-]{0,127}|@sha256:[0-9a-f]{64})")
_HOST = re.compile(r"([\w][\w.-]*@)?[\w][\w.-]*")
_WORD = re.compile(r"[\w][\w./:@=+-]*")
_URI = re.compile(r"[a-z][a-z0-9+]*://[\w.-]+(/[\w./+=-]*)?")
_PATH = re.compile(r"/[\w./+=-]+")
_KINDS_OF_STORAGE = {"aws": "s3", "gcp": "gs"}
_LIMITS = {
    "workers": (1, 10_000),
    "min_workers": (0, 10_000),
    "gpus": (0, 16),
    "cpus": (0, 1024),
    "memory": (1, 24_576),
}


def cluster_values(kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the templates of `kind`; what is not `given`, or None, takes its default.

    Raises:
        UserError: one of them cannot be, is not there, or is not read by this kind.
    """
    if kind not in KINDS:
        raise UserError(f"there is no kind of cluster {kind!r}; valid: {', '.join(KINDS)}")
    chosen, wanted = KINDS[kind], {key: value for key, value in given.items() if value not in (None, [], ())}
    storage, name, recipe = (wanted.pop(key, "") for key in ("storage", "name", "recipe"))
    _refuse_unread(kind, chosen, wanted)
    values: dict[str, Any] = {**chosen.options, **wanted}
    for option, value in values.items():
        _check(option, value, kind)
    if values.get("min_workers", 0) > values.get("workers", 0):
        raise UserError(f"--min-workers must not be above --workers={values['workers']}, got {values['min_workers']}")
    values |= _name(name or "concord") | _storage(kind, storage) | _machine(chosen, kind, values)
    values |= {"zone": "", "region": "", **values}
    if kind == "gcp":
        values["region"] = values["zone"].rpartition("-")[0]
    values["command"] = _command(values, _word("recipe", recipe or "main"))
    return values | {"version": version("concord-mtl"), "ray": version("ray"), "python": python_version()}


def _refuse_unread(kind: str, chosen: Kind, wanted: Mapping[str, Any]) -> None:
    unread = [_flag(option) for option in wanted if option not in chosen.options]
    if unread:
        reads = ", ".join(_flag(option) for option in ("name", "storage", "recipe", *chosen.options))
        raise UserError(f"{kind} does not read {', '.join(unread)}; it reads {reads}")


def _flag(option: str) -> str:
    return "--host" if option == "hosts" else "--" + option.replace("_", "-")


def _check(option: str, value: Any, kind: str) -> None:
    if value is None:
        raise UserError(f"{kind} needs {_flag(option)}")
    if option in _LIMITS:
        low, high = _LIMITS[option]
        if not low <= value <= high:
            raise UserError(f"{_flag(option)} must lie in [{low}, {high}], got {value}")
    elif option == "hosts":
        _check_hosts(value)
    elif option == "image":
        if not _IMAGE.fullmatch(value) or value.endswith(":latest"):
            raise UserError(
                f"--image must be an image with a tag that stays or a digest, such as team/concord:1, got {value!r}"
            )
    elif value:
        _word(option, value)


def _word(option: str, value: str) -> str:
    if not _WORD.fullmatch(value):
        raise UserError(f"{_flag(option)} must be one word of letters, digits and ./:@=+-, got {value!r}")
    return value


def _check_hosts(hosts: Sequence[str]) -> None:
    for host in hosts:
        if not _HOST.fullmatch(host):
            raise UserError(f"--host must be HOST or USER@HOST, got {host!r}")
    if len(set(hosts)) < len(hosts):
        raise UserError(f"--host names a host twice: {', '.join(hosts)}")


def _name(name: str) -> dict[str, Any]:
    if not _NAME.fullmatch(name):
        raise UserError(
            f"--name must be small letters, digits and -, begin with a letter, at most 40 of them; got {name!r}"
        )
    return {"name": name}


def _storage(kind: str, storage: str) -> dict[str, Any]:
    """Where run folders go: `is_remote` where that is a URI.

    Raises:
        UserError: machines of this kind could not all reach it.
    """
    storage = storage or {"local": "runs", "kuberay": "/mnt/concord"}.get(kind, "")
    if not storage:
        raise UserError(f"{kind} needs --storage, a folder or URI that every machine can write")
    if "://" in storage:
        if not _URI.fullmatch(storage):
            raise UserError("--storage must be SCHEME://BUCKET/FOLDER, without keys, queries or blanks in it")
    elif kind == "local":
        storage = str(Path(storage).absolute())
    elif not _PATH.fullmatch(storage):
        raise UserError(f"--storage must be an absolute folder, the same on every machine, or a URI; got {storage!r}")
    scheme = _KINDS_OF_STORAGE.get(kind)
    if scheme and not storage.startswith(f"{scheme}://"):
        raise UserError(
            f"--storage: machines of {kind} come and go and share no disk; give {scheme}://BUCKET/FOLDER, got {storage!r}"
        )
    return {"storage": storage, "is_remote": "://" in storage}


def _machine(chosen: Kind, kind: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The cloud's machine and its CPUs, and what a machine with GPUs wants besides."""
    if "hosts" in values:
        return {"head_address": values["hosts"][0].rpartition("@")[2], "workers": len(values["hosts"]), "gpus": 0}
    if not chosen.machines:
        return {}
    gpus, machine, cpus = values["gpus"], values["machine"], values["cpus"]
    if machine and not cpus:
        raise UserError(f"--machine={machine} needs --cpus, how many it has")
    if not machine and gpus not in chosen.machines:
        known = ", ".join(map(str, chosen.machines))
        raise UserError(f"--gpus={gpus} needs --machine and --cpus; machines are known with {known} GPUs")
    if kind == "gcp" and gpus and not values["machine_image"]:
        raise UserError("--gpus on gcp needs --machine-image: the image of a disk with NVIDIA's driver and Docker")
    known_machine, known_cpus = (machine, cpus) if machine else chosen.machines[gpus]
    return {"machine": known_machine, "cpus": cpus or known_cpus}


def _command(values: Mapping[str, Any], recipe: str) -> str:
    """`concord train` under the cluster's name, so that every retry goes on with the same run."""
    words = ["concord", "train", recipe, f"name={values['name']}", f"cluster.storage={values['storage']}"]
    if "workers" in values:
        words.append(f"cluster.workers={values['workers'] * max(values['gpus'], 1)}")
    return shlex.join(words)
