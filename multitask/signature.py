"""Signatures of checkpoints and exports: HMAC-SHA256 with a key that this user alone holds, over the file with the checksums.

Checksums tell damage. Whoever can write a folder can write checksums, too, so against alterations there is a key: with
`CONCORD_SIGNATURE_KEY_FILE` set, what is written is signed, and what is not signed with this key is refused. Without it nothing changes.
"""

import hashlib
import hmac
import os
import socket
from pathlib import Path

from multitask.errors import UserError

VARIABLE = "CONCORD_SIGNATURE_KEY_FILE"
SUFFIX = ".hmac"
_LEAST = 32


def signature_key() -> bytes | None:
    """The key; None where none is to be used.

    Raises:
        UserError: the file cannot be read or is too short to be a key.
    """
    if not (name := os.environ.get(VARIABLE)):
        return None
    try:
        key = Path(name).expanduser().read_bytes().strip()
    except OSError as error:
        raise UserError(f"{VARIABLE}: cannot read {name}: {error.strerror}") from None
    if len(key) < _LEAST:
        raise UserError(f"{VARIABLE}: {name} holds {len(key)} bytes, a key has at least {_LEAST}: openssl rand -hex 32")
    return key


def key_name() -> str:
    """What tells the key from others and does not betray it; empty without one."""
    key = signature_key()
    return "" if key is None else _sign(key, b"concord: the name of this key")[:16]


def check_key(name: str) -> None:
    """Raises:
    UserError: this host has another key than the process that began the run, whose key is called `name`, or none.
    """
    if key_name() != name:
        raise UserError(
            f"{VARIABLE}: host {socket.gethostname()} has another key, or none, than where the run was begun"
        )


def sign(data: bytes) -> bytes | None:
    """The signature of `data`, a line of text; None without a key."""
    key = signature_key()
    return None if key is None else f"{_sign(key, data)}\n".encode()


def signature_problem(data: bytes, signature: bytes | None) -> str | None:
    """What is wrong with the signature of `data`, None where it has none; nothing is without a key."""
    key = signature_key()
    if key is None:
        return None
    if signature is None:
        return f"it is not signed, and {VARIABLE} is set"
    if not hmac.compare_digest(signature.strip(), _sign(key, data).encode()):
        return f"its signature is not of the key in {VARIABLE}: it was altered, or signed with another key"
    return None


def _sign(key: bytes, data: bytes) -> str:
    return hmac.new(key, data, hashlib.sha256).hexdigest()
