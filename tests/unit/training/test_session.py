"""A session of one process, and what it leaves behind."""

import subprocess
import sys

from tests.integration.commands import ROOT, environment

_SCRIPT = """
import os
from cluster.training.session import LocalSession
session = LocalSession("cpu")
print(os.environ["GLOO_SOCKET_IFNAME"])
session.close()
print(os.environ.get("GLOO_SOCKET_IFNAME"), os.environ["NCCL_SOCKET_IFNAME"])
"""


def test_process_is_off_the_network_for_as_long_as_it_trains() -> None:
    own = environment(NCCL_SOCKET_IFNAME="mine")
    own.pop("GLOO_SOCKET_IFNAME", None)
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT],
        cwd=ROOT,
        env=own,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout.split() == ["lo", "None", "mine"], done.stderr
