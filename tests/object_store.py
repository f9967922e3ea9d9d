"""A real S3 server on loopback (SeaweedFS), and a proxy before it that makes what goes wrong between hosts and stores."""

import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pyarrow import fs

BUCKET = "runs"
KEY, SECRET = "store-key", "store-secret"
_IDENTITY = {
    "name": "tests",
    "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
    "actions": ["Admin", "Read", "Write", "List", "Tagging"],
}


class ObjectStore:
    """The server, with its files in `folder`; `kill` and `start` it again on the same ports."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "data").mkdir(parents=True)
        (folder / "identities.json").write_text(json.dumps({"identities": [_IDENTITY]}))
        names = [f"{part}.port{kind}" for part in ("master", "volume", "filer", "s3") for kind in ("", ".grpc")]
        self._ports = dict(zip(names, _free_ports(len(names)), strict=True))
        self.port = self._ports["s3.port"]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = {"dir": self._folder / "data", "s3.config": self._folder / "identities.json", "ip": "127.0.0.1"}
        options |= {"ip.bind": "127.0.0.1", "master.volumeSizeLimitMB": 64, "volume.max": 20, "s3.port.iceberg": 0}
        options |= {"s3.port.lance": 0, "s3.autoCreateBucket": "false"} | self._ports
        weed = Path(sys.executable).with_name("weed")
        arguments = [weed, f"-logdir={self._folder}", "server", "-s3", *(f"-{k}={v}" for k, v in options.items())]
        with (self._folder / "weed.log").open("ab") as log:
            self._process = subprocess.Popen(arguments, stdout=log, stderr=log)
        end = time.monotonic() + 120
        while not self._answers():
            assert self._process.poll() is None, (self._folder / "weed.log").read_text()[-2000:]
            assert time.monotonic() < end, "the S3 server does not start"
            time.sleep(0.1)

    def _answers(self) -> bool:
        store = fs.S3FileSystem(
            access_key=KEY,
            secret_key=SECRET,
            endpoint_override=f"127.0.0.1:{self.port}",
            scheme="http",
            allow_bucket_creation=True,
        )
        try:
            store.create_dir(BUCKET)
            with store.open_output_stream(f"{BUCKET}/started") as stream:
                stream.write(b"1")
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for own in sockets:
            own.bind(("127.0.0.1", 0))
        return [own.getsockname()[1] for own in sockets]


# What is asked: method, path with query, headers.
Request = tuple[str, str, dict[str, str]]


class Proxy:
    """Passes requests on to a server, but for what `fault` says of each: None, a status as 503, or one of the names below.

    A float: seconds for which it is held back before it is passed on. `cut`: the connection is closed in the middle of the body. `unanswered`: passed on, and closed without the answer.
    `unconditional`: a condition that does not hold is answered as if it did. `seen`: the requests so far.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.fault: Callable[[Request], Any] = lambda request: None
        self.seen: list[Request] = []
        proxy = self

        class Handler(_Forwarder):
            def fault_of(self) -> Any:
                request = (self.command, self.path, {key.lower(): value for key, value in self.headers.items()})
                proxy.seen.append(request)
                return proxy.fault(request)

            @property
            def target(self) -> int:
                return proxy.target

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def mend(self) -> None:
        """No faults from here on."""
        self.fault = lambda request: None

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Forwarder(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def fault_of(self) -> Any:
        raise NotImplementedError

    @property
    def target(self) -> int:
        raise NotImplementedError

    def _take(self) -> None:
        fault = self.fault_of()
        if fault == "cut":
            self.rfile.read(min(10, int(self.headers.get("Content-Length", 10)) // 2))
            self._hang_up()
            return
        body = self._body()
        if isinstance(fault, float):
            time.sleep(fault)
        if isinstance(fault, int):
            self._answer(fault, {}, b"<Error><Code>InternalError</Code><Message>a fault</Message></Error>")
            return
        answer = self._pass_on(body, fault)
        if fault == "unanswered" or answer is None:
            self._hang_up()
        else:
            self._answer(*answer)

    def _body(self) -> bytes:
        """As it comes, with the marks of its chunks where it comes in chunks."""
        if "Content-Length" in self.headers or self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        read, size = [], 1
        while size:
            read.append(self.rfile.readline())
            size = int(read[-1].partition(b";")[0], 16)
            read.append(self.rfile.read(size + 2))
        return b"".join(read)

    def _pass_on(self, body: bytes, fault: Any) -> tuple[int, dict[str, str], bytes] | None:
        server = http.client.HTTPConnection("127.0.0.1", self.target, timeout=60)
        try:
            server.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for key, value in self.headers.items():
                if key.lower() not in ("expect", "connection"):
                    server.putheader(key, value)
            server.endheaders(body or None)
            answer = server.getresponse()
            if answer.status == 412 and fault == "unconditional":
                return 200, {"ETag": '"0"'}, b""
            return answer.status, dict(answer.getheaders()), answer.read()
        except OSError:
            return None
        finally:
            server.close()

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response_only(status)
        told = {key: value for key, value in headers.items() if key.lower() not in ("transfer-encoding", "connection")}
        if self.command != "HEAD" or "Content-Length" not in told:
            told["Content-Length"] = str(len(body))
        for key, value in told.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _take  # noqa: N815


@contextmanager
def object_store(folder: Path) -> Iterator[ObjectStore]:
    """A server that runs for the block."""
    store = ObjectStore(folder)
    try:
        store.start()
        yield store
    finally:
        store.kill()


def store_environment(port: int, **changes: str) -> dict[str, str]:
    """How a process finds the server at `port`, with its keys."""
    found = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    return found | {"AWS_EC2_METADATA_DISABLED": "true", "AWS_DEFAULT_REGION": "us-east-1"} | changes
