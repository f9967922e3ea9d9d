"""Ranks look for the newest checkpoint that is whole: each reads its share of the files, so that none reads all."""

from collections.abc import Mapping
from dataclasses import dataclass

from cluster.storage.checkpoint import FOLDER, read_checked, read_manifest
from cluster.storage.checkpoint_save import Ranks
from cluster.storage.shard_file import is_shard, shard_name
from cluster.storage.storage import Storage


@dataclass(frozen=True)
class Found:
    """The newest whole checkpoint, None where there is none, and name to what was wrong with each newer one.

    `shard`: this rank's own file of it, read already; None where other ranks have written it.
    """

    folder: str | None
    problems: dict[str, str]
    shard: bytes | None = None


def search_checkpoint(storage: Storage, ranks: Ranks, rank: int, world: int) -> Found:
    """As `find_checkpoint`, by all ranks together; they have the same `folder` and `problems`.

    Raises:
        OSError, pyarrow.ArrowException: the storage does not answer; on another rank than that, as `ranks` says it.
    """
    problems: dict[str, str] = {}
    for name in ranks.from_rank_zero(lambda: storage.folders(FOLDER)[::-1]):
        folder = f"{FOLDER}/{name}"
        problem, shard = _judge(storage, folder, ranks, rank, world)
        if problem is None:
            return Found(folder, problems, shard)
        problems[name] = problem
    return Found(None, problems)


def _judge(storage: Storage, folder: str, ranks: Ranks, rank: int, world: int) -> tuple[str | None, bytes | None]:
    """What is wrong with a checkpoint, the same on all ranks, and this rank's own shard of it."""
    files, problem = ranks.from_rank_zero(lambda: read_manifest(storage, folder))
    if problem is not None:
        return problem, None
    share, own = _share(files, rank, world), shard_name(rank, world)
    problem, shard = ranks.on_every_rank(lambda: _read(storage, folder, share, files, own))
    return next((found for found in ranks.gather(problem) if found), None), shard


def _share(files: Mapping[str, str], rank: int, world: int) -> list[str]:
    """The files that this rank reads: the shard of its own number and what ranks wrote that are no more; rank 0 also the rest."""
    shards = sorted(file for file in files if is_shard(file))
    rest = sorted(set(files) - set(shards)) if rank == 0 else []
    return shards[rank::world] + rest


def _read(
    storage: Storage, folder: str, share: list[str], files: Mapping[str, str], own: str
) -> tuple[str | None, bytes | None]:
    """What is wrong with the first bad file of `share`, and what is in that of the name `own`."""
    shard = None
    for file in share:
        data, problem = read_checked(storage, folder, file, files)
        if problem:
            return problem, None
        if file == own:
            shard = data
    return None, shard
