"""What is wrong with the W&B files of a run or a sweep."""

import json
from collections.abc import Iterator
from pathlib import Path

from cluster.storage.finding import Finding, remove_file, remove_folder
from cluster.storage.storage import Storage
from cluster.tracking.fragments import Fragment, find_fragments


def check_wandb(storage: Storage) -> list[Finding]:
    """Files that end in the middle of a record, hold nothing or are damaged. W&B writes to disks only; copies elsewhere are not looked at."""
    if not storage.is_local:
        return []
    root = Path(storage.path("")).resolve()
    found = [finding for fragment in find_fragments(root) for finding in _check_fragment(fragment, root)]
    return [*found, *_check_ledgers(root)]


def _check_fragment(fragment: Fragment, root: Path) -> Iterator[Finding]:
    if fragment.sent or not fragment.file.is_relative_to(root):
        return
    path = fragment.file.relative_to(root).as_posix()
    if fragment.state == "torn":
        advice = f"cut it after its {fragment.rows} whole rows, as `concord wandb sync` does"

        def cut(storage: Storage) -> None:
            with open(storage.path(path), "r+b") as file:
                file.truncate(fragment.readable)

        yield Finding(path, "its last record was not written to its end", advice, cut)
    elif fragment.state == "damaged":
        yield Finding(
            path, f"damaged after {fragment.rows} rows", "what follows is lost; what lies before stays as it is"
        )
    elif fragment.state == "empty":
        yield remove_folder(path.rpartition("/")[0], "a W&B file that does not even name its run")


def _check_ledgers(root: Path) -> Iterator[Finding]:
    """`wandb/<run>.json`: which rows were sent."""
    for file in sorted((root / "wandb").glob("*.json")):
        try:
            if isinstance(json.loads(file.read_text()), dict):
                continue
        except ValueError:
            pass
        yield remove_file(f"wandb/{file.name}", "cannot be read, and is taken for none")
