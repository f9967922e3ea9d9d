"""A command sent to a cluster as a job."""

import logging
import os
import re
import shlex
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.jobs.command_check import check_folders, run_config
from cluster.jobs.followed_log import ENDED
from cluster.jobs.job_environment import (
    Dependencies,
    check_cluster,
    check_words,
    dependency_environment,
    environment_variables,
    own_source,
)
from cluster.jobs.job_server import JobServer
from cluster.jobs.package import SETTINGS, copy_files, package_files, relative_words
from multitask.config import RunConfig
from multitask.errors import UserError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_ADDRESSES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
_TAKEN = "already exists"
_TRIES = 20
# Of `concord sweep`, what takes the name of one that there is.
_OF_ANOTHER = {"resume", "status", "stop", "list", "spaces", "trials", "enqueue", "export-study"}


@dataclass(frozen=True)
class Submission:
    """What is to be run: `words` of a command, such as `("train", "recipe.yaml")`.

    `name`: of the run and the job; the recipe's own if not given. `included`: further files and folders to send along.
    `variables`: NAME=VALUE for the job's environment; `needs`: names of variables, secrets among them, that the cluster's nodes
    must have. `dependencies`: `image` trusts what is installed there, `pip` and `uv` install concord's as they are here.
    """

    words: tuple[str, ...]
    name: str | None = None
    included: Sequence[str] = ()
    variables: Sequence[str] = ()
    needs: Sequence[str] = ()
    dependencies: Dependencies = "image"


def submit(server: JobServer, submission: Submission) -> str:
    """Send a job and give its id: the name, with -2, -3, … for its later attempts, which go on with the same run.

    Raises:
        UserError: the command is not right, would miss something there or shows a secret, its files are too large, or a job of
            this name is running.
    """
    words = relative_words(submission.words)
    check_words(words)
    variables = environment_variables(submission.variables, submission.needs)
    words = _named(words, submission.name)
    config = run_config(words)
    files = package_files(words, submission.included)
    _check_settings(files)
    check_folders(words, config, files)
    check_cluster(server.ray_version, submission.dependencies)
    if submission.dependencies != "image":
        files = {**own_source(), **files}
    environment = {"env_vars": variables, **dependency_environment(submission.dependencies)}
    name = _name_of(words, submission.name, config)
    program = ["concord"] if submission.dependencies == "image" else ["python", "-m", "cluster.cli"]
    with tempfile.TemporaryDirectory(prefix="concord-job-") as folder:
        copy_files(files, Path(folder))
        environment["working_dir"] = folder
        return _send(server, name, shlex.join([*program, *words]), environment)


def _check_settings(files: dict[str, Path]) -> None:
    for place, path in files.items():
        if path.suffix in SETTINGS:
            try:
                check_words(path.read_text("utf-8", errors="replace").split())
            except UserError as error:
                raise UserError(f"{place}: {error}") from None


def _named(words: list[str], name: str | None) -> list[str]:
    """The command with the run's name in it, where it takes one."""
    if name is None:
        return words
    if words[:1] == ["train"]:
        return [*words, f"name={name}"]
    return [*words, "--name", name] if words[:1] == ["sweep"] and not _OF_ANOTHER & set(words[1:2]) else words


def _name_of(words: Sequence[str], given: str | None, config: RunConfig | None) -> str:
    names = [word for word in words[1:] if not word.startswith("-")]
    name = given or (config.name if config else "-".join([words[0], *(Path(own).stem for own in names[:1])]))
    if not _NAME.fullmatch(name):
        raise UserError(f"--name: a job's name has letters, digits, '.', '_' and '-', got {name!r}")
    return name


def _send(server: JobServer, name: str, entrypoint: str, environment: dict[str, Any]) -> str:
    """Ray never takes an id twice: each attempt has its own."""
    before = server.jobs()
    for own in before:
        if own["status"] not in ENDED and (own.get("metadata") or {}).get("name") == name:
            job = own["submission_id"]
            raise UserError(
                f"{job} is {own['status'].lower()} under the name {name}: `concord logs {job}` or `concord stop {job}`"
            )
    taken = {own["submission_id"] for own in before}
    attempts = (name if number == 1 else f"{name}-{number}" for number in range(1, len(taken) + _TRIES))
    with _client(server) as client:
        for job in attempts:
            if job in taken:
                continue
            try:
                client.submit_job(
                    entrypoint=entrypoint, runtime_env=environment, submission_id=job, metadata={"name": name}
                )
                return job
            except RuntimeError as error:
                if _TAKEN not in str(error):
                    raise UserError(f"{server.address} refuses the job: {_last_line(error)}") from error
    raise UserError(f"--name: all ids of {name} are taken")


@contextmanager
def _client(server: JobServer) -> Iterator[Any]:
    """Ray's own client, which prefers addresses of the environment to the one that it is given."""
    hidden = {key: os.environ.pop(key) for key in _ADDRESSES if key in os.environ}
    try:
        from ray.job_submission import JobSubmissionClient

        for name in ("sdk", "dashboard_sdk", "packaging"):
            logging.getLogger(_LOGGERS[name]).setLevel(logging.WARNING)
        yield JobSubmissionClient(server.address, headers=dict(server.headers))
    except (ConnectionError, OSError) as error:
        raise UserError(f"{server.address} went away while the job was sent: {type(error).__name__}") from error
    finally:
        os.environ.update(hidden)


_LOGGERS = {
    "sdk": "ray.dashboard.modules.job.sdk",
    "dashboard_sdk": "ray.dashboard.modules.dashboard_sdk",
    "packaging": "ray._private.runtime_env.packaging",
}


def _last_line(error: Exception) -> str:
    return [line for line in str(error).splitlines() if line.strip()][-1].strip()
