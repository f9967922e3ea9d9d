import hashlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pytest

from multitask.config import RunConfig, load_recipe
from multitask.data import BadRow, read_split
from multitask.data.identifiers import IdLedger, Place
from multitask.errors import UserError

MakeConfig = Callable[..., RunConfig]


FILES = {"train": "train.csv", "dev": "dev.csv"}


def rows(count: int, start: int = 0) -> list[str]:
    return [f"{n},w{n} w1,{n % 2}" for n in range(start, start + count)]


def write(folder: Path, name: str, *lines: str, header: str = "id,text,label") -> Path:
    path = folder / name
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def refusal(config: RunConfig, split: str = "train") -> list[str]:
    with pytest.raises(UserError) as caught:
        read_split(config, "t", split)
    return str(caught.value).splitlines()


def test_table_has_the_one_schema(tmp_path: Path, make_config: MakeConfig) -> None:
    path = write(tmp_path, "train.csv", *rows(5000))
    result = read_split(make_config(), "t", "train")
    assert result.table.schema.names == ["id", "text", "text_pair", "negative", "label"]
    assert result.table.schema.types == [*[pa.string()] * 4, pa.float64()]
    assert result.table.column("id").to_pylist() == [str(n) for n in range(5000)]
    assert result.table.column("text")[4321].as_py() == "w4321 w1"
    assert result.table.column("label").to_pylist() == [n % 2 for n in range(5000)]
    assert result.table.column("text_pair").null_count == 5000
    assert result.bad_rows == ()
    assert result.content_hash == hashlib.sha256(path.read_bytes()).hexdigest()


def test_several_files_are_read_in_order(tmp_path: Path, make_config: MakeConfig) -> None:
    one, two = write(tmp_path, "one.csv", *rows(3)), write(tmp_path, "two.csv", *rows(3, 3))
    result = read_split(make_config(files={"train": ["two.csv", "one.csv"], "dev": "dev.csv"}), "t", "train")
    assert result.table.column("id").to_pylist() == ["3", "4", "5", "0", "1", "2"]
    assert result.content_hash == hashlib.sha256(two.read_bytes() + one.read_bytes()).hexdigest()


def test_rows_without_id_column_are_named_by_file_and_line(tmp_path: Path, make_config: MakeConfig) -> None:
    write(tmp_path, "train.csv", "0,a,0", '1,"b\nb",1', "2,c,0")
    result = read_split(make_config(columns={"text": "text", "label": "label"}), "t", "train")
    assert result.table.column("id").to_pylist() == ["train:2", "train:3", "train:5"]


def test_files_of_one_name_need_an_id_column(tmp_path: Path, make_config: MakeConfig) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder, "x.csv", *rows(2))
    config = make_config(
        columns={"text": "text", "label": "label"}, files={"train": ["a/x.csv", "b/x.csv"], "dev": "dev.csv"}
    )
    assert refusal(config) == [
        "tasks.t.files.train: two files are named x: set tasks.t.columns.id to tell their rows apart"
    ]


def test_uri_root(make_config: MakeConfig) -> None:
    with fsspec.open("memory://reading/train.csv", "wb") as file:
        file.write("\n".join(["id,text,label", *rows(4)]).encode())
    assert read_split(make_config(data={"root": "memory://reading"}), "t", "train").table.num_rows == 4


def test_bad_rows_are_listed_by_file_and_line(tmp_path: Path, make_config: MakeConfig) -> None:
    path = write(tmp_path, "train.csv", "1,a,0", "2,,1", '3,"x\ny",7', "4,b", "5,c,yes", "6,d,1")
    assert refusal(make_config()) == [
        f"{path}:3: text is empty",
        f"{path}:4: label must be a whole number in 0 … 1, got 7",
        f"{path}:6: has 2 fields, the header has 3",
        f"{path}:7: label is not a number: 'yes'",
        "tasks.t.files.train: 4 of 6 rows are bad: mend them, they are more than the 1 % that data.on_bad_rows=skip leaves out",
    ]


def test_rows_that_an_open_quote_merges_are_told_by_the_label(tmp_path: Path, make_config: MakeConfig) -> None:
    path = write(tmp_path, "train.csv", '1,"opened,0', '2,ends with",1', '3,"Hello, world\nI, am",0', "4,d,1")
    assert refusal(make_config())[0] == f"{path}:2: broken quoting: a quote is opened and never closed"
    write(tmp_path, "test.csv", '1,"opened,0', '2,ends with",1', "4,d,1", header="id,text,other")
    result = read_split(make_config(files={**FILES, "test": "test.csv"}), "t", "test")
    assert result.table.column("text").to_pylist() == ["opened,0\n2,ends with", "d"]


def test_bytes_that_are_not_utf8_are_reported_where_they_are(tmp_path: Path, make_config: MakeConfig) -> None:
    path = tmp_path / "train.csv"
    path.write_bytes(b'id,text,label\n1,"a\nb",0\n2,caf\xe9,1\n3,c,0\n')
    assert refusal(make_config())[0] == f"{path}:4: text is not valid UTF-8"


def test_no_more_than_twenty_bad_rows_are_listed(tmp_path: Path, make_config: MakeConfig) -> None:
    path = write(tmp_path, "train.csv", *rows(100), *["x,,0"] * 50)
    lines = refusal(make_config())
    assert lines[:20] == [f"{path}:{n}: text is empty" for n in range(102, 122)]
    assert lines[20:] == [
        "tasks.t.files.train: 50 of 150 rows are bad, the first 20 are listed: mend them, they are more than the 1 % that data.on_bad_rows=skip leaves out"
    ]


@pytest.mark.parametrize(("good", "is_read"), [(99, True), (98, False)])
def test_skip_leaves_out_one_percent_and_no_more(
    tmp_path: Path, make_config: MakeConfig, good: int, is_read: bool
) -> None:
    path = write(tmp_path, "train.csv", "x,,0", *rows(good))
    config = make_config(data={"on_bad_rows": "skip"})
    if is_read:
        result = read_split(config, "t", "train")
        assert result.table.num_rows == good
        assert result.bad_rows == (BadRow(str(path), 2, "text is empty"),)
    else:
        rule = "mend them, they are more than the 1 % that data.on_bad_rows=skip leaves out"
        assert refusal(config)[-1] == f"tasks.t.files.train: 1 of 99 rows are bad: {rule}"


def test_unlabelled_test_split_has_null_labels(tmp_path: Path, make_config: MakeConfig) -> None:
    for split in ("test", "dev"):
        write(tmp_path, f"{split}.csv", "1,a", "2,b", header="id,text")
    config = make_config(files={"train": "train.csv", "dev": "dev.csv", "test": "test.csv"})
    assert read_split(config, "t", "test").table.column("label").to_pylist() == [None, None]
    assert "column 'label' (tasks.t.columns.label) is missing" in refusal(config, "dev")[0]


def test_labelled_test_split_is_validated(tmp_path: Path, make_config: MakeConfig) -> None:
    path = write(tmp_path, "test.csv", "1,a,1", "2,b,")
    config = make_config(files={"train": "train.csv", "dev": "dev.csv", "test": "test.csv"})
    assert refusal(config, "test")[0] == f"{path}:3: label is empty"


def test_missing_column_is_named_with_its_key_and_those_there_are(tmp_path: Path, make_config: MakeConfig) -> None:
    path = write(tmp_path, "train.csv", "1,a,0", header="id,txt,label")
    assert refusal(make_config()) == [
        f"tasks.t.files.train: {path}: column 'text' (tasks.t.columns.text) is missing; "
        "the file's columns: ['id', 'txt', 'label']"
    ]


def test_column_that_occurs_twice_is_refused(tmp_path: Path, make_config: MakeConfig) -> None:
    write(tmp_path, "train.csv", "1,a,b,0", header="id,text,text,label")
    assert "column 'text' (tasks.t.columns.text) occurs twice" in refusal(make_config())[0]


@pytest.mark.parametrize(("content", "said"), [("", "is empty"), ("id,text,label\n", "has no rows")])
def test_empty_file_is_said(tmp_path: Path, make_config: MakeConfig, content: str, said: str) -> None:
    (tmp_path / "train.csv").write_text(content)
    write(tmp_path, "more.csv", *rows(4))
    config = make_config(files={"train": ["more.csv", "train.csv"], "dev": "dev.csv"})
    assert refusal(config) == [f"tasks.t.files.train: {tmp_path / 'train.csv'} {said}"]


def test_missing_files_are_all_named(tmp_path: Path, make_config: MakeConfig) -> None:
    config = make_config(files={"train": ["a.csv", "b.csv"], "dev": "dev.csv"})
    assert refusal(config) == [
        f"tasks.t.files.train: there is no file {tmp_path / name}" for name in ("a.csv", "b.csv")
    ]
    assert refusal(config, "test") == ["tasks.t.files.test: the task has no test files"]


def test_duplicate_ids_are_found_across_files(tmp_path: Path, make_config: MakeConfig) -> None:
    one, two = write(tmp_path, "one.csv", *rows(3)), write(tmp_path, "two.csv", "7,a,0", "1,b,0", "7,c,1")
    assert refusal(make_config(files={"train": ["one.csv", "two.csv"], "dev": "dev.csv"})) == [
        f"{two}:3: duplicate id, {one}:3 has the same",
        f"{two}:4: duplicate id, {two}:2 has the same",
    ]


def test_class_without_training_rows_is_said(tmp_path: Path, make_config: MakeConfig) -> None:
    write(tmp_path, "train.csv", "1,a,0", "2,b,3")
    write(tmp_path, "dev.csv", "1,a,0")
    config = make_config(kind={"name": "classification", "classes": 5})
    assert refusal(config) == ["tasks.t.files.train: no training row has class 1, 2, 4"]
    assert read_split(config, "t", "dev").table.num_rows == 1


def test_everything_wrong_with_a_split_is_told_at_once(tmp_path: Path, make_config: MakeConfig) -> None:
    write(tmp_path, "one.csv", "1,a,0", "1,b,0", "2,,0")
    lines = refusal(make_config(files={"train": ["one.csv", "none.csv"], "dev": "dev.csv"}))
    assert [word for word in ("no file", "text is empty", "2 of", "duplicate id") if word in "\n".join(lines)] == [
        "no file",
        "text is empty",
        "duplicate id",
    ]


def test_id_ledger_finds_what_a_dictionary_finds() -> None:
    generator = random.Random(0)
    ledger, first, expected = IdLedger(), dict[str, Place](), list[Place]()
    for line in range(20_000):
        identifier, place = str(generator.randrange(100_000)), Place(line // 5000, line)
        ledger.add(identifier, place)
        if identifier in first:
            expected.append(place)
        first.setdefault(identifier, place)
    assert [again for again, _ in ledger.duplicates()] == expected
    assert len(expected) > 1000


def test_real_quora_dev_lacks_two_labels(shared_data: Path) -> None:
    config = load_recipe("main", [f"data.root={shared_data}"])
    result = read_split(config, "quora", "dev")
    assert result.table.num_rows == 20_212
    assert [(row.line, row.reason) for row in result.bad_rows] == [
        (2577, "is_duplicate is empty"),
        (14222, "sentence2 is empty"),
    ]
    strict = load_recipe("main", [f"data.root={shared_data}", "data.on_bad_rows=error"])
    with pytest.raises(UserError, match=r"quora-dev\.csv:2577: is_duplicate is empty\n"):
        read_split(strict, "quora", "dev")


@pytest.mark.parametrize(
    ("task", "split", "count"),
    [("sst", "train", 8544), ("sst", "test", 2210), ("sts", "train", 6040), ("sts", "test", 1725)],
)
def test_real_files_have_the_rows_they_are_said_to_have(shared_data: Path, task: str, split: str, count: int) -> None:
    result: Any = read_split(load_recipe("main", [f"data.root={shared_data}"]), task, split)
    assert result.table.num_rows == count
    assert (result.table.column("label").null_count == count) == (split == "test")
