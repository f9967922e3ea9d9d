"""Send commands to a cluster, and see what became of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from multitask.errors import UserError

if TYPE_CHECKING:
    from cluster.jobs.job_environment import Dependencies
    from cluster.jobs.job_server import JobServer


@dataclass(frozen=True)
class Job:
    """A job of a cluster. `id`: what Ray calls it."""

    id: str
    server: "JobServer"

    @property
    def status(self) -> str:
        """`PENDING`, `RUNNING`, `SUCCEEDED`, `FAILED` or `STOPPED`."""
        status: str = self.server.details(self.id)["status"]
        return status

    @property
    def log(self) -> str:
        """All that it has printed."""
        return self.server.log(self.id)

    def wait(self) -> int:
        """Wait for its end, through connections that break, and give the exit code of its command."""
        from cluster.jobs.followed_log import FollowedLog, exit_code

        return exit_code(FollowedLog(self.server, self.id, lambda text: None).follow())

    def stop(self) -> str:
        """Have it save after its step and end; gives its last status."""
        from cluster.jobs.watched_job import stop

        status: str = stop(self.server, self.id)["status"]
        return status


def submit(
    command: Sequence[str],
    *,
    address: str | None = None,
    name: str | None = None,
    include: Sequence[str] = (),
    env: Sequence[str] = (),
    needs: Sequence[str] = (),
    dependencies: "Dependencies" = "image",
    insecure: bool = False,
) -> Job:
    """Run a command such as `["train", "recipe.yaml"]` on a Ray cluster, as `concord submit` does, and do not wait for it.

    Args:
        command: words of a command of concord, without `concord`.
        address: URL of the job server; RAY_API_SERVER_ADDRESS or http://127.0.0.1:8265 if not given.
        name: of job and run, which goes on under it; the recipe's own if not given.
        include: further files and folders to send along.
        env: NAME=VALUE for the job's environment; no secrets.
        needs: names of variables that the cluster's nodes must have.
        dependencies: `image` trusts what is installed there, `pip` and `uv` install what concord needs as it is here.
        insecure: also to a server elsewhere that wants no token.

    Raises:
        UserError: the cluster does not answer, is open to everybody, or the command cannot run there.
    """
    from cluster.jobs.job_server import connect
    from cluster.jobs.submission import Submission
    from cluster.jobs.submission import submit as send

    if isinstance(command, str):
        raise UserError(f"a command is a list of words, got {command!r}")
    asked: dict[str, Any] = {"included": include, "variables": env, "needs": needs, "dependencies": dependencies}
    server = connect(address, insecure=insecure)
    return Job(send(server, Submission(tuple(command), name, **asked)), server)
