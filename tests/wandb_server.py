"""A stand-in for W&B's server on loopback: as much of its protocol as a run, `wandb sync` and a workspace need."""

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import wandb

KEY = "a" * 40
VIEWER = {
    "id": "u",
    "name": "me",
    "username": "me",
    "email": "me@example.org",
    "admin": False,
    "flags": "{}",
    "entity": "me",
    "deletedAt": None,
    "apiKeys": {"edges": []},
    "teams": {"edges": []},
}


# What the library's `Api().run` wants besides.
_ABOUT: dict[str, Any] = {
    "state": "finished",
    "user": {"name": "me", "username": "me"},
    "systemMetrics": "{}",
    "historyKeys": None,
    "description": None,
    "group": None,
    "jobType": None,
}


class ServedRun:
    """What the server holds of one run: its rows, its summary, and the exit codes that were sent."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}
        self.exit_codes: list[int] = []
        self.tags: list[str] = []

    def stream(self, files: dict[str, Any]) -> None:
        """Take one message of the file stream; rows go where their offset says."""
        if history := files.get("wandb-history.jsonl"):
            self.rows[history["offset"] :] = [json.loads(line) for line in history["content"]]
        if summary := files.get("wandb-summary.json"):
            self.summary = json.loads(summary["content"][-1])


class WandbServer(ThreadingHTTPServer):
    """Serves at `url`; `refuse` answers everything with 401."""

    def __init__(self, refuse: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.refuse = refuse
        self.runs: dict[str, ServedRun] = {}
        self.views: dict[str, dict[str, Any]] = {}
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that are killed break their connections."""

    def answer(self, operation: str, query: str, values: dict[str, Any]) -> dict[str, Any]:
        """The data of a GraphQL answer."""
        if operation == "RunResumeStatus":
            return {"model": {"id": "p", "name": "p", "entity": _entity(), "bucket": self._bucket(values["name"])}}
        if "query Run(" in query:
            run = self._bucket(values["name"])
            return {
                "project": {"run": run and run | {"projectId": "1", "tags": self.runs[values["name"]].tags, **_ABOUT}}
            }
        if operation == "UpsertBucket" or "mutation UpsertBucket(" in query:
            return {"upsertBucket": self._upsert(values)}
        if operation == "CreateRunFiles":
            files = [{"name": name, "uploadUrl": f"{self.url}/put/{name}"} for name in values["files"]]
            return {"createRunFiles": {"runID": "id", "uploadHeaders": [], "files": files}}
        if "upsertView" in query:
            view = {"id": values.get("id") or f"view-{len(self.views)}", "name": values["name"]}
            self.views[view["id"]] = values
            return {"upsertView": {"view": view, "inserted": True}}
        return {"viewer": VIEWER}

    def _bucket(self, name: str) -> dict[str, Any] | None:
        run = self.runs.get(name)
        if run is None:
            return None
        tail = json.dumps([json.dumps(row) for row in run.rows[-1:]])
        counts = {"logLineCount": 0, "historyLineCount": len(run.rows), "eventsLineCount": 0}
        about = {"id": name, "name": name, "displayName": name, "config": "{}", "tags": [], "notes": None}
        summary = json.dumps(run.summary)
        return about | counts | _tails(tail) | {"summaryMetrics": summary, "wandbConfig": '{"t": 1}'}

    def _upsert(self, values: dict[str, Any]) -> dict[str, Any]:
        name = values.get("name") or values["id"]
        new = name not in self.runs
        run = self.runs.setdefault(name, ServedRun())
        run.tags = values.get("tags") or run.tags
        project = {"id": "p", "name": values.get("project") or "p", "entity": _entity()}
        about = {"id": name, "name": name, "displayName": name, "description": None, "config": "{}", "sweepName": None}
        return {"bucket": about | {"historyLineCount": 0, "project": project}, "inserted": new}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: WandbServer

    def log_message(self, *_: Any) -> None:
        """Nothing on stderr."""

    def do_PUT(self) -> None:
        self._body()
        self._send({})

    def do_POST(self) -> None:
        body = json.loads(self._body() or b"{}") if "otel" not in self.path else self._body() and {}
        if self.server.refuse:
            self._send({"errors": [{"message": "invalid api key"}]}, 401)
        elif self.path.endswith("/graphql"):
            operation = body.get("operationName") or ""
            self._send({"data": self.server.answer(operation, body["query"], body.get("variables", {}))})
        else:
            self._stream(body)
            self._send({"exitcode": None})

    def _stream(self, body: Any) -> None:
        if not self.path.endswith("/file_stream"):
            return
        run = self.server.runs.setdefault(self.path.split("/")[-2], ServedRun())
        run.stream(body.get("files", {}))
        if body.get("complete"):
            run.exit_codes.append(body["exitcode"])

    def _body(self) -> bytes:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(data) if self.headers.get("Content-Encoding") == "gzip" else data

    def _send(self, value: Any, code: int = 200) -> None:
        data = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _entity() -> dict[str, str]:
    return {"id": "e", "name": "me"}


def _tails(history: str) -> dict[str, str]:
    return {"historyTail": history, "eventsTail": "[]"}


@contextmanager
def serving(refuse: bool = False) -> Iterator[WandbServer]:
    """A server for as long as the block lasts."""
    server = WandbServer(refuse)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def own_environment(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """No login, no network, no file outside of `folder`."""
    for name in ("API_KEY", "MODE", "SWEEP_ID", "RUN_ID", "PROJECT", "ENTITY", "BASE_URL"):
        monkeypatch.delenv(f"WANDB_{name}", raising=False)
    for name in ("DATA", "CACHE", "CONFIG", "ARTIFACT"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(folder / "home" / name.lower()))
    monkeypatch.setenv("WANDB_DIR", str(folder / "home"))
    monkeypatch.setenv("NETRC", str(folder / "netrc"))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")


def log_in(monkeypatch: pytest.MonkeyPatch, url: str, key: str = KEY) -> None:
    """A login for the server at `url`, also of processes started from now on."""
    wandb.teardown()
    monkeypatch.setenv("WANDB_BASE_URL", url)
    monkeypatch.setenv("WANDB_API_KEY", key)
