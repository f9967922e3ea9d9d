"""What a job is told by its environment, and how it looks at its own before it begins. No secret is in it."""

import importlib.metadata
import json
import os
import platform
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from packaging.requirements import Requirement

from multitask.errors import UserError
from multitask.redaction import redacted

Dependencies = Literal["image", "pip", "uv"]
_PROJECT = "concord-mtl"
_BY_NAME = "set it in the environment of the cluster's nodes, and say --needs NAME"
_PACKAGES = ("cluster", "multitask", "tune_spaces", "infra")
_SUBMITTED, _NEEDS = "CONCORD_SUBMITTED_WITH", "CONCORD_NEEDS"
# How long a driver that is stopped may take to save; Ray's own 3 s are few.
_STOP_WAIT_S = 120
_SECRET_NAME = re.compile(r"(?i)(key|token|secret|passw(or)?d|credential)")
_ASSIGNED = re.compile(r"(?i)(api_?key|access_?key|token|secret|passw(or)?d|credentials?)=\S")


def environment_variables(given: Sequence[str], needs: Sequence[str]) -> dict[str, str]:
    """What the job's processes find in their environment: `given` as NAME=VALUE, and what concord tells itself.

    Raises:
        UserError: one of `given` is no NAME=VALUE, or looks like a secret.
    """
    variables = {"RAY_JOB_STOP_WAIT_TIME_S": str(_STOP_WAIT_S), _SUBMITTED: json.dumps(own_versions())}
    if needs:
        variables[_NEEDS] = ",".join(needs)
    for pair in given:
        name, sign, value = pair.partition("=")
        if not sign or not name.isidentifier():
            raise UserError(f"--env takes NAME=VALUE, got {name!r}")
        if _SECRET_NAME.search(name) or _holds_secret(value):
            raise UserError(
                f"--env {name}: a secret would stand in the job's details, for all to read; "
                f"set it on the cluster's nodes, and say --needs {name}"
            )
        variables[name] = value
    return variables


def _holds_secret(text: str) -> bool:
    return redacted(text) != text or _ASSIGNED.search(text) is not None


def check_words(words: Iterable[str]) -> None:
    """Refuse what looks like a secret in a job's command or in its files, which others can read.

    Raises:
        UserError: there is some.
    """
    for word in words:
        if _holds_secret(word):
            shown = re.match(r"[\w.+-]*", word.lstrip("'\"{[(,-"))
            name = shown[0] if shown else ""
            raise UserError(f"{name}…: a secret in a job's command or files is for all to read; {_BY_NAME}")


def own_versions() -> dict[str, str]:
    """Versions that must agree between who submits, the image and the cluster."""
    return {
        "concord": importlib.metadata.version(_PROJECT),
        "Ray": importlib.metadata.version("ray"),
        "Python": ".".join(platform.python_version_tuple()[:2]),
    }


def check_cluster(ray_version: str, dependencies: Dependencies) -> None:
    """Compare the cluster's Ray with ours, which concord's own bounds are for.

    Raises:
        UserError: packages of another Ray would be installed under the cluster's.
    """
    ours = own_versions()["Ray"]
    if ray_version == ours:
        return
    if dependencies != "image":
        raise UserError(
            f"the cluster has Ray {ray_version}, concord here is for {ours}: --with {dependencies} needs the same"
        )
    print(f"concord: the cluster has Ray {ray_version}, here is {ours}; the image's concord decides", file=sys.stderr)


def check_this_job() -> None:
    """Called first in a command: where it is a job, look for what it needs, and say how it differs from who submitted it.

    Raises:
        UserError: a variable of the environment that it needs is not there.
    """
    missing = [name for name in os.environ.get(_NEEDS, "").split(",") if name and not os.environ.get(name)]
    if missing:
        raise UserError(
            f"{', '.join(missing)}: not in the environment of this node of the cluster, where --needs wants it"
        )
    theirs: Mapping[str, str] = json.loads(os.environ.get(_SUBMITTED, "{}"))
    ours = own_versions() if theirs else {}
    other = [
        f"{name} {ours[name]} (submitted with {version})"
        for name, version in theirs.items()
        if ours.get(name, version) != version
    ]
    if other:
        print(f"concord: the cluster has {', '.join(other)}", file=sys.stderr)


def dependency_environment(dependencies: Dependencies) -> dict[str, Any]:
    """The part of a runtime environment that installs what concord needs, in the versions of here; Ray is the cluster's own."""
    if dependencies == "image":
        return {}
    wanted = [Requirement(text) for text in importlib.metadata.requires(_PROJECT) or ()]
    needed = [own for own in wanted if own.name != "ray" and (own.marker is None or own.marker.evaluate({"extra": ""}))]
    # A build such as 2.13.0+cpu is of this host.
    versions = {own.name: importlib.metadata.version(own.name).partition("+")[0] for own in needed}
    return {dependencies: [f"{name}=={version}" for name, version in versions.items()]}


def own_source() -> dict[str, Path]:
    """Place in a package to file: concord itself, with the metadata that tell its version."""
    files: dict[str, Path] = {}
    for package in _PACKAGES:
        root = Path(str(__import__(package).__file__)).parent
        own = (path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        files |= {f"{package}/{path.relative_to(root)}": path for path in own}
    folder = Path(str(importlib.metadata.distribution(_PROJECT).locate_file("")))
    # Beside a checkout that Python runs in lie the metadata of its build, under names of their own.
    places = (folder / _folder_name() / "METADATA", folder / f"{_PROJECT.replace('-', '_')}.egg-info" / "PKG-INFO")
    return files | {f"{_folder_name()}/METADATA": next(path for path in places if path.is_file())}


def _folder_name() -> str:
    return f"{_PROJECT.replace('-', '_')}-{importlib.metadata.version(_PROJECT)}.dist-info"
