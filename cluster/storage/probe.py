"""Whether all ranks see one and the same storage."""

import socket
from collections.abc import Callable

import pyarrow as pa

from cluster.storage.storage import Storage
from multitask.errors import UserError


def probe(storage: Storage, rank: int, world: int, attempt: str, barrier: Callable[[], None]) -> None:
    """Every rank writes a file and reads those of all others.

    Raises:
        UserError: a rank cannot write, or does not see what another has written.
    """
    folder = f"probe/{attempt}"
    me = f"rank {rank} on {socket.gethostname()}"
    problem = None
    try:
        storage.write(f"{folder}/{rank}", me.encode())
    except (OSError, pa.ArrowException) as error:
        problem = f"cluster.storage: {me} cannot write to {storage.location}: {error}"
    barrier()
    for other in range(world):
        if problem is None:
            try:
                storage.read(f"{folder}/{other}")
            except (OSError, pa.ArrowException):
                problem = (
                    f"cluster.storage: {me} does not see in {storage.location} what rank {other} wrote; "
                    "name a folder or URI that all workers share"
                )
    barrier()
    if rank == 0:
        storage.delete_folder("probe")
    if problem:
        raise UserError(problem)
