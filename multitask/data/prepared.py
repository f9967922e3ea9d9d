"""The tokenised tables of a run."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from multitask.config import RunConfig
from multitask.config.files import MEMORY
from multitask.data.source import RowSource
from multitask.data.table import TaskTable
from multitask.data.tokenised import TableStore, prepare
from multitask.data.tokenizer import load_tokenizer, tokenizer_id
from multitask.errors import UserError


@dataclass(frozen=True)
class Tables:
    """Training tables by task, dev tables by scored task, and the tokenizer's padding id.

    `test`: test tables, of rows in memory alone; those in files are opened when they are asked for. `more_dev`: dev tables beside
    the first, by split and task.
    """

    train: dict[str, TaskTable]
    dev: dict[str, TaskTable]
    pad_id: int
    test: dict[str, TaskTable] = field(default_factory=dict)
    more_dev: dict[str, dict[str, TaskTable]] = field(default_factory=dict)

    def further(self) -> Iterator[tuple[str, str, TaskTable]]:
        """Split, task and table of each dev set beside the first."""
        for split, own in self.more_dev.items():
            yield from ((split, task, table) for task, table in own.items())

    def all(self) -> Iterator[TaskTable]:
        """Every table that is opened."""
        for own in (self.train, self.dev, self.test, *self.more_dev.values()):
            yield from own.values()

    def hashes(self) -> dict[str, str]:
        """`task/split` of train and dev to the hash of what was read."""
        return {f"{task}/{split}": about["content_hash"] for task, split, about in self._read()}

    def remarks(self) -> list[str]:
        """A sentence for each split of train and dev of which rows are not used, or have the ids of others."""
        return [
            f"tasks.{task}.files.{split}: {text}" for task, split, about in self._read() for text in _remarks(about)
        ]

    def _read(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        for split, own in (("train", self.train), ("dev", self.dev), *self.more_dev.items()):
            yield from ((task, split, table.metadata) for task, table in own.items())


def _remarks(about: Mapping[str, Any]) -> Iterator[str]:
    if bad := about["bad_rows"]:
        yield (
            f"{bad:,} of {about['rows'] + bad:,} rows are bad and left out, the first: {about['bad_rows_listed'][0]}; "
            "`concord data check` lists them"
        )
    if dropped := about["dropped"]:
        counts = ", ".join(f"{label!r}: {rows:,}" for label, rows in dropped.items())
        yield f"rows left out by drop_labels: {sum(dropped.values()):,} ({counts})"
    if repeated := about["repeated_ids"]:
        yield (
            f"ids that an earlier row has: {repeated['rows']:,}, the first: {repeated['again']}, as {repeated['first']}; "
            "all rows are used"
        )


def prepare_tables(
    config: RunConfig,
    sources: Mapping[tuple[str, str], RowSource] | None = None,
    store: TableStore | None = None,
) -> Tables:
    """Read, check and tokenise what the cache does not hold, and open all of it.

    `sources`: by (task, split), where rows come from that are not in the task's files. `store`: from where tables are taken that
    the cache does not hold.
    """
    given = sources or {}
    tokenizer = load_tokenizer(config.encoder.name)
    identity = tokenizer_id(tokenizer)
    wanted = {
        "train": tuple(config.tasks),
        "dev": config.scored_tasks,
        "test": tuple(task for task, split in given if split == "test"),
    }
    more = dict.fromkeys(split for own in config.tasks.values() for split in own.dev_sets if split != "dev")
    wanted |= {split: tuple(task for task, own in config.tasks.items() if split in own.dev_sets) for split in more}
    opened = {
        split: {
            task: prepare(config, task, split, tokenizer, identity, given.get((task, split)), store) for task in tasks
        }
        for split, tasks in wanted.items()
    }
    return Tables(
        opened["train"],
        opened["dev"],
        int(tokenizer.pad_token_id),
        opened["test"],
        {split: opened[split] for split in more},
    )


def check_same_rows(config: RunConfig, before: Mapping[str, str], now: Mapping[str, str], mend: str) -> None:
    """Compare the hashes of what a training has read so far with those of what it would read now.

    Raises:
        UserError: they differ; it names the files and says `mend`.
    """
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            task, _, split = name.partition("/")
            names = next((own for name, own in config.tasks[task].files.items() if name == split), ())
            files = "memory" if MEMORY in names else ", ".join(names)
            raise UserError(
                f"tasks.{task}.files.{split}: {files} no longer holds the rows that training began with; {mend}"
            )
