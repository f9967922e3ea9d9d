"""A job's log, followed to its end through connections that break."""

import asyncio
import sys
import time
from collections.abc import Callable
from typing import Any

from cluster.jobs.job_server import JobServer, ServerLostError
from multitask.errors import UserError

ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
INTERRUPTED = 130
_HEARTBEAT_S = 10.0
_LONGEST_PAUSE_S = 5.0
_CONNECT_S = 10.0
# A busy head breaks connections that are there again at once.
_SAID_AFTER_S = 3.0


class FollowedLog:
    """Writes what a job prints, each character once.

    The server sends a log from its beginning whenever it is asked; what was written already is passed over. `patience_s`: how
    long a server may be away.
    """

    def __init__(self, server: JobServer, job: str, write: Callable[[str], object], patience_s: float = 900.0) -> None:
        self._server, self._job, self._write, self._patience_s = server, job, write, patience_s
        self._shown = 0
        self._lost: float | None = None
        self._said = False

    def follow(self) -> dict[str, Any]:
        """Follow to the job's end, and give its details.

        Raises:
            UserError: the server does not know the job or the token any more, or is away for longer than `patience_s`.
        """
        import aiohttp

        pause = 0.2
        while True:
            try:
                asyncio.run(self._tail())
                details = self._server.details(self._job)
                self._found_again()
                if details["status"] in ENDED:
                    self._show(self._server.log(self._job), 0)
                    return details
            except (ServerLostError, aiohttp.ClientError, OSError) as error:
                self._missed(error)
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S) if self._lost is not None else 0.2

    async def _tail(self) -> None:
        """One connection, to its end."""
        import aiohttp

        url, place = f"{self._server.address}/api/jobs/{self._job}/logs/tail", 0
        limits = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S)
        async with aiohttp.ClientSession(headers=dict(self._server.headers), timeout=limits) as session:
            try:
                connection = await session.ws_connect(url, heartbeat=_HEARTBEAT_S, max_msg_size=0)
            except aiohttp.WSServerHandshakeError:
                return  # why, its details say
            async with connection:
                self._found_again()
                async for message in connection:
                    if message.type is aiohttp.WSMsgType.TEXT:
                        place = self._show(message.data, place)
                if connection.exception() is not None:
                    raise ServerLostError(str(connection.exception()))

    def _show(self, text: str, place: int) -> int:
        """Write what is new of `text`, which stands at `place` of the log; gives the place of its end."""
        end = place + len(text)
        if end > self._shown:
            self._write(text[max(0, self._shown - place) :])
            self._shown = end
        return end

    def _missed(self, error: Exception) -> None:
        now = time.monotonic()
        self._lost = now if self._lost is None else self._lost
        if now - self._lost > self._patience_s:
            again = f"`concord logs {self._job} --follow` shows the rest"
            raise UserError(f"{self._server.address} has not answered for {self._patience_s:g} s; {again}") from error
        if now - self._lost >= _SAID_AFTER_S and not self._said:
            self._said = True
            print("concord: the connection is lost, the job goes on; trying again", file=sys.stderr)

    def _found_again(self) -> None:
        if self._said:
            print("concord: connected again", file=sys.stderr)
        self._lost, self._said = None, False


def exit_code(details: dict[str, Any]) -> int:
    """The exit code of the job's own command; 130 where the job was stopped, 1 where it failed without one."""
    status, code = details["status"], details.get("driver_exit_code")
    if status == "SUCCEEDED":
        return 0
    if status == "STOPPED":
        return INTERRUPTED
    return 1 if not code else int(code) if code > 0 else 128 - int(code)
