"""Whether an export is as it was written."""

import json
from pathlib import Path
from typing import Any

from multitask.errors import UserError
from multitask.export.writer import DESCRIPTION, ENCODER, FORMAT, HEADS, SIGNATURE, file_hash
from multitask.signature import signature_key, signature_problem

# For people, or written later, and read by nothing that predicts.
_FREE = {DESCRIPTION, SIGNATURE, "README.md", "published.json"}


def check_export(folder: Path) -> dict[str, Any]:
    """What the export in `folder` says of itself, after a look at every file.

    Raises:
        UserError: there is no export, it is of another format, a file's checksum differs, or, with a signature key, it is not
            signed with it or holds files that are not.
    """
    description = _description(folder)
    listed: dict[str, str] = description["sha256"]
    for name, checksum in listed.items():
        if "/" in name or not (folder / name).is_file():
            raise UserError(f"{folder / name} is missing")
        if file_hash(folder / name) != checksum:
            raise UserError(f"{folder / name} differs from its checksum in {DESCRIPTION}: it was damaged or altered")
    strange = sorted({file.name for file in folder.iterdir()} - set(listed) - _FREE)
    if strange and signature_key() is not None:
        raise UserError(f"{folder / strange[0]} is not in {DESCRIPTION}, which is signed: remove it")
    return description


def _description(folder: Path) -> dict[str, Any]:
    path = folder / DESCRIPTION
    try:
        data = path.read_bytes()
        description = json.loads(data)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{folder} is no export: it has no {DESCRIPTION}") from None
    except ValueError:
        description = None
    if not isinstance(description, dict):
        raise UserError(f"{path} cannot be read")
    if description.get("format") != FORMAT:
        raise UserError(f"{path}: format {description.get('format')}, this version reads {FORMAT}")
    signature = folder / SIGNATURE
    if problem := signature_problem(data, signature.read_bytes() if signature.is_file() else None):
        raise UserError(f"{path}: {problem}")
    if not {ENCODER, HEADS} <= set(description.get("sha256", ())):
        raise UserError(f"{path}: the checksums of {ENCODER} and {HEADS} are missing")
    return description
