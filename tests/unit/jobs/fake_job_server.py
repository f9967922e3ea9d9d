"""A job server of Ray's that breaks connections when it is told to, on loopback."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web


class FakeJobServer:
    """One job, `job`, with a log that is told in pieces. `token`: wanted, if one is given.

    `breaks`: after how many pieces each connection to the log is cut, one number for each connection; later ones are whole.
    `silences`: how many connections go dead after their pieces, as behind a cable that was cut.
    `away`: how many requests for details are answered by 503, as are those for the log until then.
    """

    def __init__(self, token: str | None = None, pieces: tuple[str, ...] = (), breaks: tuple[int, ...] = ()) -> None:
        self.token, self.pieces, self.breaks, self.away = token, pieces, list(breaks), 0
        self.details: dict[str, Any] = {"type": "SUBMISSION", "submission_id": "job", "status": "SUCCEEDED"}
        self.details |= {"driver_exit_code": 0, "message": "", "start_time": 1, "entrypoint": "concord train main"}
        self.jobs = [self.details]
        self.version: dict[str, str] = {"ray_version": "2.60.0", "version": "4"}
        self.submitted: list[dict[str, Any]] = []
        self.packages: dict[str, bytes] = {}
        self.tokens: list[str | None] = []
        self.stopped, self.silences, self.connections, self.refused = 0, 0, 0, 0
        self.address = ""

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._authorize], client_max_size=2**30)
        app.add_routes(
            [
                web.get("/api/version", self._version),
                web.get("/api/jobs/", self._list),
                web.post("/api/jobs/", self._submit),
                web.get("/api/jobs/{job}", self._details),
                web.get("/api/jobs/{job}/logs", self._log),
                web.get("/api/jobs/{job}/logs/tail", self._tail),
                web.post("/api/jobs/{job}/stop", self._stop),
                web.get("/api/packages/gcs/{name}", self._package),
                web.put("/api/packages/gcs/{name}", self._upload),
            ]
        )
        return app

    @web.middleware
    async def _authorize(self, request: web.Request, handler: Any) -> Any:
        given = request.headers.get("Authorization")
        self.tokens.append(given)
        if self.token and given != f"Bearer {self.token}":
            return web.Response(status=403 if given else 401)
        return await handler(request)

    async def _version(self, request: web.Request) -> web.Response:
        return web.json_response(self.version)

    async def _list(self, request: web.Request) -> web.Response:
        return web.json_response(self.jobs)

    async def _submit(self, request: web.Request) -> web.Response:
        job = await request.json()
        if job["submission_id"] in self.taken():
            self.refused += 1
            return web.Response(status=500, text=f"Job with submission_id {job['submission_id']} already exists.")
        self.submitted.append(job)
        return web.json_response({"job_id": job["submission_id"], "submission_id": job["submission_id"]})

    def taken(self) -> set[str]:
        return {job["submission_id"] for job in self.submitted}

    async def _details(self, request: web.Request) -> web.Response:
        if request.match_info["job"] != "job":
            return web.Response(status=404)
        if self.away:
            self.away -= 1
            return web.Response(status=503)
        # It has not ended while there are connections to break.
        return web.json_response(self.details | ({"status": "RUNNING"} if self.breaks else {}))

    async def _log(self, request: web.Request) -> web.Response:
        return web.json_response({"logs": "".join(self.pieces)})

    async def _tail(self, request: web.Request) -> Any:
        if request.match_info["job"] != "job":
            return web.Response(status=404)
        if self.away:
            return web.Response(status=503)
        socket = web.WebSocketResponse(autoping=not self.silences)
        await socket.prepare(request)
        most = self.breaks.pop(0) if self.breaks else None
        for piece in self._cut()[:most]:
            await socket.send_str(piece)
        if self.silences:
            self.silences -= 1
            await asyncio.sleep(300)
        if most is not None:
            await asyncio.sleep(0.05)
            assert request.transport is not None
            request.transport.abort()
        return socket

    def _cut(self) -> tuple[str, ...]:
        """The log in pieces, cut in other places for each connection."""
        self.connections += 1
        if self.connections == 1:
            return self.pieces
        text, length = "".join(self.pieces), 3 + self.connections
        return tuple(text[place : place + length] for place in range(0, len(text), length))

    async def _stop(self, request: web.Request) -> web.Response:
        self.stopped += 1
        self.details |= {"status": "STOPPED", "driver_exit_code": None}
        return web.json_response({"stopped": True})

    async def _package(self, request: web.Request) -> web.Response:
        return web.Response(status=200 if request.match_info["name"] in self.packages else 404)

    async def _upload(self, request: web.Request) -> web.Response:
        self.packages[request.match_info["name"]] = await request.read()
        return web.Response(text=json.dumps({}))


@contextmanager
def serving(server: FakeJobServer) -> Iterator[FakeJobServer]:
    """The server, answering at `server.address`."""
    loop, ready = asyncio.new_event_loop(), threading.Event()

    async def start() -> web.AppRunner:
        runner = web.AppRunner(server.app(), shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        assert site._server is not None
        server.address = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
        return runner

    def run() -> None:
        asyncio.set_event_loop(loop)
        runner = loop.run_until_complete(start())
        ready.set()
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(30)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
