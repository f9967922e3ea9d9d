"""The worker: set up, then run. It knows a session and no Ray."""

import time
from dataclasses import asdict
from pathlib import Path

import torch

from cluster.step.stopwatch import Stopwatch
from cluster.storage.run_folder import RunFolder
from cluster.storage.shared_tables import SharedTables
from cluster.storage.storage import Storage
from cluster.training.agreement import rank_error
from cluster.training.allocator import keep_freed_memory
from cluster.training.loop import Run
from cluster.training.observer import Outcome
from cluster.training.outcome import run_info
from cluster.training.rank_failure import RankError
from cluster.training.run_lease import owned_folder
from cluster.training.session import Session
from cluster.training.stop_request import RestartRequestedError
from multitask.config import RunConfig
from multitask.data import Tables, prepare_tables
from multitask.determinism import deterministic
from multitask.errors import UserError


def train(config: RunConfig, session: Session, started: float | None = None) -> Outcome:
    """Train the run of `config` from where its folder stands, and give its outcome, the same on every rank.

    `started`: `time.time()` of the command, for the start-up time. The outcome is reported, too.

    Raises:
        UserError: on every rank, where one of them met something that the user can mend.
        RestartRequestedError: on every rank, which have saved; whoever asked for it starts them again.
        RankError: with several ranks, anything else that one of them met, with its number and host.
    """
    try:
        with deterministic(config.training.deterministic):
            return _train(config, session, started)
    except (UserError, RankError, RestartRequestedError):
        raise
    except torch.OutOfMemoryError as error:
        mend = "lower tasks.<task>.batch_size or data.max_length, or raise cluster.workers or zero.stage"
        raise UserError(f"{rank_error(error)}; {mend}") from error
    except Exception as error:
        if session.world == 1:
            raise
        raise rank_error(error) from error


def _train(config: RunConfig, session: Session, started: float | None) -> Outcome:
    keep_freed_memory()
    watch = Stopwatch(session.device)
    with owned_folder(session.agreement.on_every_rank(lambda: RunFolder.of(config)), session) as folder:
        return _train_in(folder, config, session, watch, started)


def _train_in(
    folder: RunFolder, config: RunConfig, session: Session, watch: Stopwatch, started: float | None
) -> Outcome:
    run_id = session.agreement.from_rank_zero(lambda: folder.start(config))
    with watch("data"):
        tables = open_tables(config, session)
    folder.notes += tables.remarks()
    run = Run(config, session, folder, tables, watch)
    run.restore()
    session.report({"run_info": asdict(run_info(run.summary(), run_id))})
    watch.seconds["start"] = time.time() - started if started else 0.0
    with run.saver:
        outcome = run.train()
    session.report({"outcome": asdict(outcome)})
    return outcome


def open_tables(config: RunConfig, session: Session) -> Tables:
    """Prepare the tables on the first rank of each host, then open them on the others; all ranks take part.

    Of several hosts rank 0's prepares them, and the others take from the runs' storage what their own caches do not hold.

    Raises:
        UserError: the data or the tokenizer cannot be used.
    """
    agreement, is_first = session.agreement, session.local_rank == 0
    if sum(agreement.gather(is_first)) == 1:
        prepared = agreement.on_every_rank(lambda: prepare_tables(config) if is_first else None)
        return agreement.on_every_rank(lambda: prepared or prepare_tables(config))
    store = SharedTables(Storage(config.cluster.storage))
    prepared = agreement.on_every_rank(lambda: _publish(config, store) if session.rank == 0 else None)
    taken = agreement.on_every_rank(lambda: prepare_tables(config, store=store) if is_first and session.rank else None)
    return agreement.on_every_rank(lambda: prepared or taken or prepare_tables(config))


def _publish(config: RunConfig, store: SharedTables) -> Tables:
    tables = prepare_tables(config)
    for table in tables.all():
        store.publish(Path(table.path))
    return tables
