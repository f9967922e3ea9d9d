"""What goes wrong: processes killed, files torn and deleted, a disk that is full, a second start."""

import os
import random
import re
import resource
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from cluster.storage.process_identity import start_time
from tests.integration.commands import command_line, environment

MARK = "CONCORD_SOAK"
# Every file that a run can go on without.
_DAMAGEABLE = ("checkpoints/*/*", "lease/*", "best_tables.json", "history.json", "run.json", "result.json")
_started: dict[str, list[int]] = {}
# Less than the shard of a tiny encoder, more than its state.
_FULL_BYTES = 20_000


def start(command: list[str], mark: str, log: Path, *, full_disk: bool = False) -> "subprocess.Popen[bytes]":
    """Start `command` with its output in `log`; all that it starts bears `mark`. `full_disk`: no large file can be written."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (_FULL_BYTES, _FULL_BYTES))

    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment(**{MARK: mark}),
            start_new_session=True,
            preexec_fn=limit if full_disk else None,
        )
    _started.setdefault(mark, []).append(process.pid)
    return process


def marked_processes(mark: str) -> dict[int, str]:
    """Process id to title of all that run and bear `mark`.

    Ray's processes write their titles over their environment: they are known by the session's folder, where they log.
    """
    found = {}
    sessions = tuple(f"{tempfile.gettempdir()}/concord-ray-{pid}-" for pid in _started.get(mark, ()))
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            bears = f"{MARK}={mark}".encode() in (entry / "environ").read_bytes().split(b"\0")
            bears = bears or any(os.readlink(file).startswith(sessions) for file in (entry / "fd").iterdir())
        except OSError:
            continue
        if bears and start_time(int(entry.name)):
            found[int(entry.name)] = command_line(int(entry.name))
    return found


def kill_something(mark: str, generator: random.Random) -> str:
    """Kill -9 of one process: first its kind is drawn, so that a board is as likely as one of many idle workers."""
    kinds: dict[str, list[int]] = {}
    for pid, title in marked_processes(mark).items():
        kinds.setdefault(_kind(title), []).append(pid)
    if not kinds:
        return "nothing"
    kind = generator.choice(sorted(kinds))
    _kill(generator.choice(sorted(kinds[kind])))
    return kind


def kill_everything(mark: str) -> None:
    """Kill -9 of all processes that bear `mark`."""
    for pid in marked_processes(mark):
        _kill(pid)


def damage_something(folder: Path, generator: random.Random) -> str:
    """Tear or delete one file of a run folder; no checkpoint of a run that has ended, which nothing could train again."""
    ended = any('"finished"' in result.read_text(errors="replace") for result in folder.glob("result.json"))
    patterns = _DAMAGEABLE[1:] if ended else _DAMAGEABLE
    files = sorted({path for pattern in patterns for path in folder.rglob(pattern) if path.is_file()})
    if not files:
        return "nothing"
    victim = generator.choice(files)
    if generator.random() < 0.5:
        victim.unlink()
        return f"deleted {victim.relative_to(folder)}"
    victim.write_bytes(victim.read_bytes()[: victim.stat().st_size // 2])
    return f"torn {victim.relative_to(folder)}"


def _kind(title: str) -> str:
    """`raylet`, `gcs_server`, `ray::Board`, …: the program without its arguments, an actor without its method."""
    program = title.split(" ")[0].rpartition("/")[2]
    if program.startswith("python"):
        named = re.search(r"-m (\S+)|(\w+)\.py", title)
        return next(filter(None, named.groups())) if named else program
    return program.partition(".")[0] if program.startswith("ray::") else program


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
