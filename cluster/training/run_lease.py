"""The folder of a run, owned by the ranks of one attempt."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from cluster.storage.lease import Fence, FencedStorage, Lease
from cluster.storage.probe import probe
from cluster.storage.run_folder import RunFolder
from cluster.training.session import Session


@contextmanager
def owned_folder(folder: RunFolder, session: Session) -> Iterator[RunFolder]:
    """The run's folder, to be written as long as this attempt owns it; rank 0 holds the lease, every rank minds it.

    Raises:
        UserError: on every rank, where another launch is at the run, or a rank does not see what another writes to the storage.
    """
    with ExitStack() as held:

        def acquire() -> tuple[int, str]:
            lease = held.enter_context(Lease.acquire(folder.storage, session.launch))
            return lease.fence.number, lease.fence.attempt

        fence = Fence(folder.storage, *session.agreement.from_rank_zero(acquire))
        probe(folder.storage, session.rank, session.world, session.attempt, session.agreement.on_every_rank)
        yield RunFolder(FencedStorage.over(folder.storage, fence))
