"""What `concord train` starts listens on loopback alone, and Ray wants a token that only its user can read."""

import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders import tiny_config
from tests.integration.commands import CONCORD, Command, command_line, descendants, environment, write_recipe

pytestmark = [pytest.mark.ray, pytest.mark.slow]
LISTENS = "0A"
# As the kernel writes 127.0.0.1, ::1 and ::ffff:127.0.0.1: 32-bit words, least byte first.
LOOPBACK = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}
PROBE = """
import ray, sys
from ray._raylet import GcsClient
try:
    GcsClient(address=sys.argv[1]).internal_kv_keys(b"", None, timeout=20)
except Exception as error:
    print(type(error).__name__, error)
    sys.exit(1)
"""


def listening(pids: list[int]) -> dict[str, set[str]]:
    """Address and port, as the kernel writes them, that each of `pids` listens on, by its program."""
    sockets = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTENS:
                sockets[f"socket:[{fields[9]}]"] = fields[1]
    return {f"{pid} {_program(pid)}": found for pid in pids if (found := set(_own(pid, sockets)))}


def _program(pid: int) -> str:
    """The last part of the program's path: how deep the environment lies must not matter."""
    return Path(command_line(pid).split(" ")[0]).name


def _own(pid: int, sockets: dict[str, str]) -> Iterator[str]:
    try:
        entries = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return
    for entry in entries:
        try:
            yield sockets[os.readlink(entry)]
        except (OSError, KeyError):
            continue


def _strangers(found: dict[str, set[str]]) -> dict[str, set[str]]:
    return {own: places for own, places in found.items() if {place.split(":")[0] for place in places} - LOOPBACK}


def _asks(address: str, **changes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROBE, address], env=environment(**changes), capture_output=True, text=True, timeout=120
    )


@pytest.fixture(scope="module")
def recipe(folder: Path, tiny_bert: Path) -> str:
    tree = tiny_config(
        folder,
        encoder={"name": str(tiny_bert)},
        phases=[{"sampling": {"name": "round_robin"}, "epochs": 4000}],
        training={"log_every": 1},
        cluster={"workers": 2, "cpus_per_worker": 0.5},
        tracking={"mode": "offline"},
    )
    return str(write_recipe(folder / "listens.yaml", tree))


def test_ray_of_our_own_is_on_loopback_and_wants_its_token(recipe: str, folder: Path, tmp_path: Path) -> None:
    home = str(tmp_path)
    # Nothing of the user's own is read or written, though the run needs what lies below the home folder.
    kept = {"HOME": home, "TORCH_EXTENSIONS_DIR": os.environ["TORCH_EXTENSIONS_DIR"]}
    with Command([*CONCORD, "train", recipe, "--json"], **kept) as command:
        command.wait_for_step(1)
        pids = [command.pid, *descendants(command.pid)]
        found = listening(pids)
        titles = " ".join(found)
        assert "gcs_server" in titles
        assert "raylet" in titles
        assert "RayTrainWorker" in titles
        assert _strangers(found) == {}

        gcs = next(command_line(pid) for pid in pids if "gcs_server" in command_line(pid))
        (scratch,) = set(re.findall(r"/\S*?/concord-ray-\w+-\w+", gcs))
        token = Path(scratch, "token")
        assert stat.S_IMODE(token.stat().st_mode) == 0o600
        assert token.read_text() not in " ".join(command_line(pid) for pid in pids)
        assert not (tmp_path / ".ray").exists()

        port = next(
            int(place.split(":")[1], 16) for own, places in found.items() if "gcs_server" in own for place in places
        )
        address = f"127.0.0.1:{port}"
        assert _asks(address, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(token)).returncode == 0
        for refused in ({"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}):
            asked = _asks(address, **refused)
            assert asked.returncode == 1, refused
            assert "auth" in asked.stdout.lower(), asked.stdout


def test_one_process_without_ray_listens_on_loopback_alone(recipe: str) -> None:
    with Command([*CONCORD, "train", recipe, "--json", "--no-ray", "name=alone"]) as command:
        command.wait_for_step(1)
        assert _strangers(listening([command.pid, *descendants(command.pid)])) == {}
