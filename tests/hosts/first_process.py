"""The first process of a host: `python first_process.py NAME FOLDER SHM`. It mounts what is the host's own, then only buries the dead.

When it dies, the kernel ends every process of the host.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path


def main() -> None:
    """Be it."""
    name, folder, memory = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    own = folder / name
    subprocess.run(["hostname", name], check=True)
    _mount("--bind", folder / "etc_hosts", "/etc/hosts")
    _mount("--bind", own / "ray", "/tmp/ray")
    _mount("--bind", own / "unshared", folder / "unshared")
    _mount("-t", "tmpfs", "-o", f"size={memory}", "tmpfs", "/dev/shm")
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (own / "ready").touch()
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            # Nothing runs here yet; orphans come as children later.
            signal.sigtimedwait([signal.SIGCHLD], 0.2)


def _mount(*arguments: object) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True)


main()
