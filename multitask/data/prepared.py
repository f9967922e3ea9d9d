"""The tokenised tables of a run."""

from dataclasses import dataclass

from multitask.config import RunConfig
from multitask.data.table import TaskTable
from multitask.data.tokenised import prepare
from multitask.data.tokenizer import load_tokenizer, tokenizer_id


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


def prepare_tables(config: RunConfig) -> Tables:
    """Read, check and tokenise what the cache does not hold, and open all of it."""
    tokenizer = load_tokenizer(config.encoder.name)
    identity = tokenizer_id(tokenizer)
    opened = {
        split: {task: prepare(config, task, split, tokenizer, identity) for task in tasks}
        for split, tasks in (("train", config.tasks), ("dev", config.scored_tasks))
    }
    return Tables(opened["train"], opened["dev"], int(tokenizer.pad_token_id))
