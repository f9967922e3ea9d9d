"""The tokenised tables of a run, opened on every worker of a host, made by one of them."""

from dataclasses import dataclass

import torch.distributed as dist

from multitask.config import RunConfig
from multitask.data import TaskTable, load_tokenizer, prepare, tokenizer_id


@dataclass(frozen=True)
class Tables:
    """Training tables by task, dev tables by scored task, and the tokenizer's padding id."""

    train: dict[str, TaskTable]
    dev: dict[str, TaskTable]
    pad_id: int

    def hashes(self) -> dict[str, str]:
        """`task/split` to the hash of the files' content."""
        splits = {"train": self.train, "dev": self.dev}
        return {
            f"{task}/{s}": table.metadata["content_hash"] for s, own in splits.items() for task, table in own.items()
        }


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


def prepare_tables(config: RunConfig) -> Tables:
    """Read, check and tokenise what the cache does not hold, and open all of it."""
    tokenizer = load_tokenizer(config.encoder.name)
    identity = tokenizer_id(tokenizer)
    opened = {
        split: {task: prepare(config, task, split, tokenizer, identity) for task in tasks}
        for split, tasks in (("train", config.tasks), ("dev", config.scored_tasks))
    }
    return Tables(opened["train"], opened["dev"], int(tokenizer.pad_token_id))
