"""What the file of a lease says, and which of them is the newest."""

import json
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cluster.storage.process_identity import ProcessIdentity
from cluster.storage.storage import Storage

FOLDER = "lease"
_NAME = re.compile(r"(\d{8})\.json")


@dataclass(frozen=True)
class Launch:
    """One start by a command. Workers that are started again in it share it, and take over from each other at once.

    `process` is the one to end where somebody else wants the folder.
    """

    id: str
    process: ProcessIdentity

    @classmethod
    def here(cls) -> "Launch":
        """A new one, by this process."""
        return cls(secrets.token_hex(8), ProcessIdentity.of())

    @classmethod
    def by(cls, pid: int) -> "Launch":
        """All that process `pid` of this host starts."""
        process = ProcessIdentity.of(pid)
        return cls(f"{process.host} {process.boot} {pid} {process.started}", process)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Launch":
        """What `to_dict` gave."""
        return cls(values["id"], ProcessIdentity(**values["process"]))


@dataclass(frozen=True)
class LeaseRecord:
    """A lease as its file holds it: who has it, since when (Unix seconds), and how often it was renewed."""

    attempt: str
    launch: Launch
    process: ProcessIdentity
    since: float
    renewals: int = 0
    released: bool = False

    def encode(self) -> bytes:
        """The file's content."""
        return (json.dumps(asdict(self), indent=1) + "\n").encode()

    @classmethod
    def decode(cls, data: bytes) -> "LeaseRecord | None":
        """None where the file is damaged."""
        try:
            values = json.loads(data)
            nested = {"launch": Launch.from_dict(values["launch"]), "process": ProcessIdentity(**values["process"])}
            return cls(**values | nested)
        except (ValueError, TypeError, KeyError):
            return None

    def is_free_for(self, launch: Launch) -> bool:
        """Whether its owner is known to be through, or is `launch`'s own."""
        return self.released or self.launch.id == launch.id or self.process.is_gone

    def describe(self) -> str:
        """The process to end, its host, and since when."""
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        process = self.process if self.launch.process.is_gone else self.launch.process
        return f"process {process.pid} on {process.host} since {since}"


def lease_path(number: int) -> str:
    """The file of the lease with that number."""
    return f"{FOLDER}/{number:08d}.json"


def read_newest(storage: Storage) -> tuple[int, bytes]:
    """Number and content of the newest lease; 0 where the folder has had no owner yet."""
    while number := newest_number(storage):
        try:
            return number, storage.read(lease_path(number))
        except FileNotFoundError:
            # The next owner has removed it since.
            continue
    return 0, b""


def newest_number(storage: Storage) -> int:
    """Number of the newest lease; 0 where the folder has had no owner yet."""
    return max((int(named[1]) for name in storage.files(FOLDER) if (named := _NAME.fullmatch(name))), default=0)
