"""What a population's trial takes over from a better one: its checkpoints."""

import pyarrow as pa

from cluster.storage.checkpoint import FOLDER, checkpoint_name, find_checkpoint, read_state, verify
from cluster.storage.run_folder import RunFolder
from cluster.storage.storage import Storage
from multitask.config import RunConfig
from multitask.errors import UserError

_ATTEMPTS = 20


def inherit(config: RunConfig, donor: str, previous: str) -> None:
    """Give the run of `config`, if it has not begun, the newest and the best checkpoint of the run `donor`.

    It stays the W&B run that the trial's `previous` run was. `donor` and `previous` lie beside the run's folder.

    Raises:
        UserError: the donor holds no whole checkpoint.
    """
    storage = Storage(config.cluster.storage)
    own = RunFolder.of(config)
    if own.has_begun:
        return
    source = storage.below(donor)
    for _ in range(_ATTEMPTS):
        own.storage.delete_folder(FOLDER)
        # The donor trains on and may remove a checkpoint while it is read.
        try:
            if _copy_checkpoints(source, own.storage):
                own.continue_as(config, RunFolder(storage.below(previous)))
                return
        except (OSError, pa.ArrowException, KeyError):
            continue
    raise UserError(f"{source.location} holds no whole checkpoint to go on from")


def _copy_checkpoints(source: Storage, target: Storage) -> bool:
    newest, _ = find_checkpoint(source)
    if newest is None:
        return False
    best = read_state(source, newest)["progress"]["best_step"]
    wanted = {newest} | ({f"{FOLDER}/{checkpoint_name(best)}"} if best is not None else set())
    for path in wanted:
        target.copy_folder(source, path)
    return all(verify(target, path) is None for path in wanted)
