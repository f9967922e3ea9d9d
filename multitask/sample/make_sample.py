"""Makes the sample data beside this file from the full data sets: `python -m multitask.sample.make_sample --source FOLDER`."""

import argparse
import csv
import hashlib
import random
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from multitask.sample.stand_ins import make_polarity, make_triplets, write_sentences

SAMPLE = Path(__file__).parent
SEED = 11711
DEV_ROWS = 450


@dataclass(frozen=True)
class SampledTask:
    """One task's files in the CS224N layout, its columns, and how many training rows the sample takes."""

    train_file: str
    dev_file: str
    texts: tuple[str, ...]
    label: str
    label_type: pa.DataType
    train_rows: int
    stratified: bool

    @property
    def schema(self) -> pa.Schema:
        """Columns `id`, the texts and the label."""
        texts = [(column, pa.string()) for column in self.texts]
        return pa.schema([("id", pa.string()), *texts, (self.label, self.label_type)])


_PAIR = ("sentence1", "sentence2")
TASKS = {
    "sst": SampledTask("ids-sst-train.csv", "ids-sst-dev.csv", ("sentence",), "sentiment", pa.int64(), 3000, True),
    "quora": SampledTask("quora-train.csv", "quora-dev.csv", _PAIR, "is_duplicate", pa.int64(), 3000, True),
    "sts": SampledTask("sts-train.csv", "sts-dev.csv", _PAIR, "similarity", pa.float64(), 2500, False),
}

Row = dict[str, str | int | float]


def make_tables(source: Path, name: str) -> dict[str, pa.Table]:
    """Draw the `train` and `dev` table of task `name` from its files in the folder `source`.

    The same files give the same tables. Rows without a label are left out, and so is every repetition of a text
    (or of a pair, in either order): no dev row's text is a training row's. Rows come in random order.

    Raises `FileNotFoundError` where `source` lacks one of the files.
    """
    task = TASKS[name]
    generator = random.Random(f"{SEED}-{name}")
    dev = _distinct(_read(source / task.dev_file, task), task, set())
    taken = _draw(dev, DEV_ROWS, task, generator)
    # Against the whole dev file, not only the rows taken: the sample's model may be scored on all of it.
    train = _distinct(_read(source / task.train_file, task), task, {_texts(row, task) for row in dev})
    rows = {"train": _draw(train, task.train_rows, task, generator), "dev": taken}
    return {split: pa.Table.from_pylist(chosen, schema=task.schema) for split, chosen in rows.items()}


def _read(path: Path, task: SampledTask) -> list[Row]:
    with path.open(encoding="utf-8", newline="") as file:
        return [_row(row, task) for row in csv.DictReader(file, delimiter="\t") if row[task.label]]


def _row(row: dict[str, str], task: SampledTask) -> Row:
    number = float(row[task.label])
    label = int(number) if pa.types.is_integer(task.label_type) else number
    return {"id": row["id"], **{column: row[column] for column in task.texts}, task.label: label}


def _texts(row: Row, task: SampledTask) -> tuple[str, ...]:
    """What makes a row the same as another: its texts, in either order."""
    return tuple(sorted(str(row[column]) for column in task.texts))


def _distinct(rows: list[Row], task: SampledTask, seen: set[tuple[str, ...]]) -> list[Row]:
    """The first row of each text or pair that is not in `seen`."""
    first: dict[tuple[str, ...], Row] = {}
    for row in rows:
        first.setdefault(_texts(row, task), row)
    return [row for texts, row in first.items() if texts not in seen]


def _draw(rows: list[Row], count: int, task: SampledTask, generator: random.Random) -> list[Row]:
    """`count` of the rows at random; of each label its share, where the task is stratified."""
    if not task.stratified:
        return generator.sample(rows, count)
    by_label = defaultdict(list)
    for row in rows:
        by_label[row[task.label]].append(row)
    sizes = _shares({label: len(group) for label, group in by_label.items()}, count)
    drawn = [row for label in sorted(by_label) for row in generator.sample(by_label[label], sizes[label])]
    return generator.sample(drawn, len(drawn))


def _shares(sizes: dict[str | int | float, int], count: int) -> dict[str | int | float, int]:
    """`count` split in proportion to `sizes`, by largest remainder."""
    exact = {key: count * size / sum(sizes.values()) for key, size in sizes.items()}
    shares = {key: int(share) for key, share in exact.items()}
    by_remainder = sorted(exact, key=lambda key: (shares[key] - exact[key], key))
    for key in by_remainder[: count - sum(shares.values())]:
        shares[key] += 1
    return shares


def make_files(source: Path, output: Path) -> dict[Path, int]:
    """Write every file of the sample into the folder `output`; give each one's rows.

    `source` holds the CS224N files, and `extra/wiki-sentences.txt`.
    """
    tables = {name: make_tables(source, name) for name in TASKS} | {"triplets": {}}
    tables["polarity"] = make_polarity(tables["sst"])
    tables["triplets"]["train"] = make_triplets(tables["quora"]["train"])
    rows = {}
    for name, splits in tables.items():
        for split, table in splits.items():
            path = output / f"{name}-{split}.parquet"
            pq.write_table(table, path, compression="zstd", compression_level=19)
            rows[path] = table.num_rows
    wiki = output / "wiki-sentences.txt"
    return rows | {wiki: write_sentences(source / "extra" / wiki.name, wiki)}


def main() -> None:
    """Write the files and print each one's rows, bytes and sha256."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True, help="folder of the full files in the CS224N layout")
    parser.add_argument("--output", type=Path, default=SAMPLE, help="folder to write to; the package's own by default")
    arguments = parser.parse_args()
    for path, rows in make_files(arguments.source, arguments.output).items():
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        print(f"| `{path.name}` | {rows:,} | {path.stat().st_size:,} | `{digest}` |")


if __name__ == "__main__":
    main()
