"""The job API of a Ray cluster, and whether it is safe to send to."""

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cluster.launch.life_watch import problem_of
from multitask.errors import UserError

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
TIMEOUT_S = 10.0
_PORTS = {"http": 80, "https": 443}
_TOKEN = "set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH to a file with it"


class ServerLostError(ConnectionError):
    """The job server does not answer, or not with sense; it may come back."""


@dataclass(frozen=True)
class JobServer:
    """A job API that answers. `headers`: what it wants to know of us."""

    address: str
    ray_version: str
    headers: Mapping[str, str]

    def jobs(self) -> list[dict[str, Any]]:
        """Details of all jobs that were submitted, the oldest first."""
        found = [own for own in self._ask("GET", "/api/jobs/") if own["type"] == "SUBMISSION"]
        return sorted(found, key=lambda own: own["start_time"] or 0)

    def details(self, job: str) -> dict[str, Any]:
        """What the server knows of a job: `status`, `driver_exit_code`, `message`, …"""
        found: dict[str, Any] = self._ask("GET", f"/api/jobs/{job}")
        return found

    def log(self, job: str) -> str:
        """All that a job has printed."""
        text: str = self._ask("GET", f"/api/jobs/{job}/logs")["logs"]
        return text

    def stop(self, job: str) -> bool:
        """Have a job's driver end; False where it has ended."""
        stopped: bool = self._ask("POST", f"/api/jobs/{job}/stop")["stopped"]
        return stopped

    def _ask(self, method: str, path: str) -> Any:
        """Raises:
        UserError: there is no such job, or the token is none.
        ServerLostError: there is no answer, or one that is none.
        """
        code, body = request(method, self.address + path, self.headers)
        if code == 404:
            raise UserError(f"{self.address} knows no job {path.split('/')[3]!r}; `concord jobs` lists them")
        if code in (401, 403):
            raise UserError(f"{self.address} does not accept the token; {_TOKEN}")
        if code != 200 or body is None:
            raise ServerLostError(f"{self.address} answers {code} to {method} {path}")
        return body


def connect(address: str | None = None, *, insecure: bool = False) -> JobServer:
    """The job server at `address`, else at that of RAY_API_SERVER_ADDRESS, of RAY_ADDRESS, or on this host.

    It is asked without the token first: a server elsewhere that answers everybody gets neither token nor job, unless `insecure`.

    Raises:
        UserError: nobody answers there, it lets everybody in, or does not let us in.
    """
    url = _url(address or os.environ.get("RAY_API_SERVER_ADDRESS") or _http(os.environ.get("RAY_ADDRESS")))
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    if problem := problem_of(f"{host}:{port}"):
        raise UserError(f"no Ray answers at {url}: {'nobody listens there' if problem == 'refused' else 'no answer'}")
    try:
        return _open(url, host, insecure=insecure)
    except ServerLostError as error:
        raise UserError(f"no Ray answers at {url}: {error}") from None


def _open(url: str, host: str, *, insecure: bool) -> JobServer:
    code, body = request("GET", f"{url}/api/version", {})
    if code == 200 and body and "ray_version" in body:
        if not insecure and not _is_loopback(host):
            raise UserError(
                f"{url} answers without a token: whoever reaches it can run anything there, and read what you send; "
                "start it with RAY_AUTH_MODE=token, or say --insecure"
            )
        return JobServer(url, body["ray_version"], {})
    if code not in (401, 403):
        raise UserError(f"{url} is no job server of Ray: it answers {code} to /api/version")
    token, source = _token()
    if token is None:
        raise UserError(f"{url} wants a token; {_TOKEN}")
    headers = {"Authorization": f"Bearer {token}"}
    code, body = request("GET", f"{url}/api/version", headers)
    if code != 200 or not body:
        raise UserError(f"{url} does not accept the token of {source}")
    if _is_clear_text(url, host):
        print(f"concord: the token goes to {host} in clear text; https or a tunnel hides it", file=sys.stderr)
    return JobServer(url, body["ray_version"], headers)


def request(method: str, url: str, headers: Mapping[str, str]) -> tuple[int, Any]:
    """Status and JSON body, None where it is none.

    Raises:
        ServerLostError: there is no answer.
    """
    import requests

    try:
        answer = requests.request(method, url, headers=dict(headers), timeout=TIMEOUT_S, allow_redirects=False)
    except requests.RequestException as error:
        raise ServerLostError(f"{type(error).__name__} at {url}") from None
    try:
        return answer.status_code, answer.json()
    except ValueError:
        return answer.status_code, None


def _is_clear_text(url: str, host: str) -> bool:
    """Whether what is sent can be read on its way."""
    return url.startswith("http://") and not _is_loopback(host)


def _url(address: str | None) -> str:
    text = (address or DEFAULT_ADDRESS).rstrip("/")
    url = text if "://" in text else f"http://{text}"
    if not re.fullmatch(r"https?://[^/@\s]+", url):
        raise UserError(f"--address must be the job server's URL, such as {DEFAULT_ADDRESS}, got {text!r}")
    return url


def _http(address: str | None) -> str | None:
    """RAY_ADDRESS also names clusters by the port of their GCS, which is no job server."""
    return address if address and address.startswith("http") else None


def _token() -> tuple[str | None, str]:
    """The user's token and where it is from, as Ray looks for it."""
    if token := os.environ.get("RAY_AUTH_TOKEN"):
        return token.strip(), "RAY_AUTH_TOKEN"
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token").expanduser()
    try:
        return path.read_text("utf-8").strip() or None, str(path)
    except OSError:
        return None, str(path)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
