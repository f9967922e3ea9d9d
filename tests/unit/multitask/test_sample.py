"""The sample data that the package ships."""

import csv
import hashlib
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from multitask.config import load_recipe
from multitask.sample import make_sample

SAMPLE = Path(make_sample.__file__).parent
SIZES = {"sst": (3000, 450), "quora": (3000, 450), "sts": (2500, 450)}
COLUMNS = {
    "sst": {"id": "string", "sentence": "string", "sentiment": "int64"},
    "quora": {"id": "string", "sentence1": "string", "sentence2": "string", "is_duplicate": "int64"},
    "sts": {"id": "string", "sentence1": "string", "sentence2": "string", "similarity": "double"},
}
SOURCES = {"sst": "ids-sst-{}.csv", "quora": "quora-{}.csv", "sts": "sts-{}.csv"}
FILES = [*SAMPLE.glob("*.parquet"), *SAMPLE.glob("*.txt")]
BOTH = [(task, split) for task in SIZES for split in ("train", "dev")]


def rows(task: str, split: str) -> list[dict]:
    return pq.read_table(SAMPLE / f"{task}-{split}.parquet").to_pylist()


def texts(row: dict) -> tuple[str, ...]:
    return tuple(row[column] for column in row if column.startswith("sentence"))


@pytest.mark.parametrize(("task", "split"), BOTH)
def test_files_have_the_stated_rows_and_columns(task: str, split: str) -> None:
    table = pq.read_table(SAMPLE / f"{task}-{split}.parquet")
    assert table.num_rows == SIZES[task][split == "dev"]
    assert {field.name: str(field.type) for field in table.schema} == COLUMNS[task]


@pytest.mark.parametrize(("task", "split"), BOTH)
def test_every_text_and_id_is_given_and_ids_are_unique(task: str, split: str) -> None:
    sample = rows(task, split)
    assert all(text.strip() for row in sample for text in texts(row))
    assert len({row["id"] for row in sample}) == len(sample)
    assert all(row["id"] for row in sample)


def test_files_together_stay_small() -> None:
    assert sum(path.stat().st_size for path in FILES) <= 1_500_000


@pytest.mark.parametrize("split", ["train", "dev"])
def test_labels_lie_in_their_ranges_and_all_classes_occur(split: str) -> None:
    assert {row["sentiment"] for row in rows("sst", split)} == set(range(5))
    assert {row["is_duplicate"] for row in rows("quora", split)} == {0, 1}
    similarities = [row["similarity"] for row in rows("sts", split)]
    assert (min(similarities), max(similarities)) == (0, 5)


@pytest.mark.parametrize("task", SIZES)
def test_no_dev_text_is_in_train(task: str) -> None:
    train = {frozenset(texts(row)) for row in rows(task, "train")}
    assert not [row for row in rows(task, "dev") if frozenset(texts(row)) in train]


def test_readme_states_each_file_s_rows_bytes_and_hash() -> None:
    stated = re.findall(
        r"^\| `(.+?)` \| (.+?) \| (.+?) \| `(.+?)` \|$", (SAMPLE / "README.md").read_text("utf-8"), re.M
    )
    found = [(path.name, f"{number_of_rows(path):,}", f"{len(path.read_bytes()):,}", sha256(path)) for path in FILES]
    assert sorted(stated) == sorted(found)
    assert len(found) == 10


def number_of_rows(path: Path) -> int:
    return len(path.read_text("utf-8").splitlines()) if path.suffix == ".txt" else pq.read_metadata(path).num_rows


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(("task", "split"), BOTH)
def test_every_row_is_a_row_of_the_full_data(shared_data: Path, task: str, split: str) -> None:
    with (shared_data / SOURCES[task].format(split)).open(encoding="utf-8", newline="") as file:
        full = {row["id"]: row for row in csv.DictReader(file, delimiter="\t")}
    label = list(COLUMNS[task])[-1]
    for row in rows(task, split):
        original = full[row["id"]]
        assert texts(row) == texts({column: original[column] for column in row if column != "id"})
        assert row[label] == float(original[label])


@pytest.mark.parametrize("task", ["sst", "quora"])
def test_label_shares_are_those_of_the_full_data(shared_data: Path, task: str) -> None:
    label = list(COLUMNS[task])[-1]
    with (shared_data / SOURCES[task].format("train")).open(encoding="utf-8", newline="") as file:
        full = [float(row[label]) for row in csv.DictReader(file, delimiter="\t")]
    sample = [row[label] for row in rows(task, "train")]
    for value in set(sample):
        assert sample.count(value) / len(sample) == pytest.approx(full.count(value) / len(full), abs=0.002)


@pytest.mark.parametrize("task", SIZES)
def test_making_the_sample_again_gives_the_same_tables(shared_data: Path, task: str) -> None:
    for split, table in make_sample.make_tables(shared_data, task).items():
        assert table.equals(pq.read_table(SAMPLE / f"{task}-{split}.parquet"))


def test_making_every_file_again_gives_the_same_rows(shared_data: Path, tmp_path: Path) -> None:
    made = make_sample.make_files(shared_data, tmp_path)
    assert {path.name: rows for path, rows in made.items()} == {path.name: number_of_rows(path) for path in FILES}
    for path in FILES:
        if path.suffix == ".parquet":
            assert pq.read_table(tmp_path / path.name).equals(pq.read_table(path)), path.name
        else:
            assert (tmp_path / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("split", ["train", "dev"])
def test_polarity_reviews_are_sentences_of_one_polarity_of_the_same_split(split: str) -> None:
    polarity = {row["sentence"].strip(): row["sentiment"] for row in rows("sst", split)}
    reviews = rows("polarity", split)
    assert {row["sentiment"] for row in reviews} == {0, 1}
    assert max(len(row["sentence"].split()) for row in reviews) > 200
    for row in reviews:
        held = [polarity[s] for s in polarity if s in row["sentence"] and len(s) > 40]
        assert all((label > 2) == bool(row["sentiment"]) for label in held if label != 2)


def test_triplets_are_duplicates_and_a_question_of_another_pair() -> None:
    pairs = {(row["sentence1"], row["sentence2"]): row["is_duplicate"] for row in rows("quora", "train")}
    others = {second for (_, second), duplicate in pairs.items() if not duplicate}
    for row in rows("triplets", "train"):
        assert pairs[row["sent0"], row["sent1"]] == 1
        assert row["hard_neg"] in others - {row["sent0"], row["sent1"]}


def test_wikipedia_sentences_are_lines_of_the_full_file(shared_data: Path) -> None:
    full = set((shared_data / "extra" / "wiki-sentences.txt").read_text("utf-8").splitlines())
    lines = (SAMPLE / "wiki-sentences.txt").read_text("utf-8").splitlines()
    assert len(set(lines)) == len(lines) == 1000
    assert set(lines) <= {line.strip() for line in full}


def test_demo_recipe_reads_only_the_sample() -> None:
    config = load_recipe("demo")
    files = {name for task in config.tasks.values() for split in task.files.values() for name in split}
    assert files == {f"{task}-{split}.parquet" for task, split in BOTH}
    assert config.data.root == "package:multitask/sample"
