"""A job watched from a terminal: its log, Ctrl-C, and the exit code of its command."""

import sys
import time
from collections.abc import Callable
from typing import Any

from cluster.jobs.followed_log import ENDED, INTERRUPTED, FollowedLog, exit_code
from cluster.jobs.job_server import JobServer, ServerLostError
from multitask.errors import UserError

_POLL_S = 1.0
_NO_CONCORD = 127


def watch(server: JobServer, job: str, write: Callable[[str], object], asks_to_stop: Callable[[], bool]) -> int:
    """Follow a job to its end and give its command's exit code.

    At Ctrl-C `asks_to_stop` says whether to stop the job, and to see its end, or to leave it alone: 130 both times.
    """
    log = FollowedLog(server, job, write)
    try:
        return _told(log.follow(), job)
    except KeyboardInterrupt:
        if not asks_to_stop():
            print(f"concord: {job} goes on; `concord logs {job} --follow`, `concord stop {job}`", file=sys.stderr)
            return INTERRUPTED
    server.stop(job)
    return _told(log.follow(), job)


def stop(server: JobServer, job: str) -> dict[str, Any]:
    """Have a job save after its step and end; gives its details once it has.

    Raises:
        UserError: there is no such job.
    """
    server.stop(job)
    while True:
        try:
            details = server.details(job)
            if details["status"] in ENDED:
                return details
        except ServerLostError as error:
            raise UserError(f"{error}; whether {job} has ended `concord jobs` says") from None
        time.sleep(_POLL_S)


def _told(details: dict[str, Any], job: str) -> int:
    """Say on stderr how it ended, where its own log may not."""
    code = exit_code(details)
    if details["status"] == "STOPPED":
        print(f"concord: {job} was stopped; submitted under its name again, it goes on", file=sys.stderr)
    elif code == _NO_CONCORD:
        print(
            "concord: the cluster's image has no concord; take one that has, or say --with pip or uv", file=sys.stderr
        )
    elif details["status"] == "FAILED" and details.get("driver_exit_code") is None:
        message = (details.get("message") or "for no known reason").strip().splitlines()
        print(f"concord: {job} failed before its command ended: {message[0]}", file=sys.stderr)
    return code
