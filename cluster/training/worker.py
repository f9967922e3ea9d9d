"""The worker: set up, then run. It knows a session and no Ray."""

import time
from dataclasses import asdict

import torch.distributed as dist

from cluster.step.stopwatch import Stopwatch
from cluster.storage.run_folder import RunFolder
from cluster.training.agreement import from_rank_zero, on_every_rank
from cluster.training.allocator import keep_freed_memory
from cluster.training.loop import Run
from cluster.training.observer import Outcome
from cluster.training.outcome import run_info
from cluster.training.run_lease import owned_folder
from cluster.training.session import Session
from multitask.config import RunConfig
from multitask.data import Tables, prepare_tables


def train(config: RunConfig, session: Session, started: float | None = None) -> Outcome:
    """Train the run of `config` from where its folder stands, and give its outcome, the same on every rank.

    `started`: `time.time()` of the command, for the start-up time. The outcome is reported, too.

    Raises:
        UserError: on every rank, where one of them met something that the user can mend.
    """
    keep_freed_memory()
    watch = Stopwatch(session.device)
    with owned_folder(RunFolder.of(config), session) as folder:
        return _train_in(folder, config, session, watch, started)


def _train_in(
    folder: RunFolder, config: RunConfig, session: Session, watch: Stopwatch, started: float | None
) -> Outcome:
    run_id = from_rank_zero(lambda: folder.start(config))
    with watch("data"):
        tables = on_every_rank(lambda: open_tables(config, session.local_rank == 0))
    run = Run(config, session, folder, tables, watch)
    run.restore()
    session.report({"run_info": asdict(run_info(run.summary(), run_id))})
    watch.seconds["start"] = time.time() - started if started else 0.0
    outcome = run.train()
    session.report({"outcome": asdict(outcome)})
    return outcome


def open_tables(config: RunConfig, first_on_host: bool) -> Tables:
    """Prepare the tables where `first_on_host`, then open them; all ranks take part.

    Raises:
        UserError: the data or the tokenizer cannot be used.
    """
    tables, problem = None, None
    if first_on_host:
        try:
            tables = prepare_tables(config)
        except Exception as error:
            problem = error
    dist.barrier()
    if problem is not None:
        raise problem
    return tables if tables is not None else prepare_tables(config)
