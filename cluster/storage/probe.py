"""Whether all ranks see one and the same storage."""

from collections.abc import Callable

import pyarrow as pa

from cluster.storage.storage import Storage
from cluster.storage.store_error import StoreError
from multitask.errors import UserError


def probe(
    storage: Storage, rank: int, world: int, attempt: str, on_every_rank: Callable[[Callable[[], None]], None]
) -> None:
    """Every rank writes a file and looks for that of the next one; the last looks for the first's.

    That is enough: where ranks see several storages, someone's next rank writes to another one than its own.

    `on_every_rank` runs an action on all ranks; they are through with it before any goes on.

    Raises:
        UserError: a rank cannot write, or does not see what another has written.
    """
    folder = f"probe/{attempt}"

    def write() -> None:
        try:
            storage.write(f"{folder}/{rank}", b"")
        except StoreError:
            raise
        except (OSError, pa.ArrowException) as error:
            raise UserError(f"cluster.storage: cannot write to {storage.location}: {error}") from None

    def read() -> None:
        other = (rank + 1) % world
        if not storage.exists(f"{folder}/{other}"):
            raise UserError(
                f"cluster.storage: what rank {other} wrote is not seen in {storage.location}; "
                "name a folder or URI that all workers share"
            )

    on_every_rank(write)
    on_every_rank(read)
    on_every_rank(lambda: storage.delete_folder("probe") if rank == 0 else None)
