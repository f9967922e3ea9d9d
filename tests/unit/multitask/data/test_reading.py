import hashlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pytest

from multitask.config import RunConfig, load_recipe, parse_config
from multitask.data import BadRow, read_split
from multitask.data.identifiers import IdLedger, Place
from multitask.data.reading import SplitStream
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
        f"{path}:7: label is not a number: 'yes'; for labels that are words give kind.labels",
        "tasks.t.files.train: 4 of 6 rows are bad: mend them, they are more than the 1 % that data.on_bad_rows=skip leaves out (data.bad_rows_limit)",
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
    lines = refusal(make_config())
    assert lines[0] == f"{path}:4: text is not valid UTF-8"
    assert lines[-1].endswith("; a file in Latin-1 needs tasks.t.layout.encoding=latin-1")
    result = read_split(make_config(layout={"encoding": "latin-1"}), "t", "train")
    assert result.table.column("text").to_pylist() == ["a\nb", "café", "c"]


def test_no_more_than_twenty_bad_rows_are_listed(tmp_path: Path, make_config: MakeConfig) -> None:
    path = write(tmp_path, "train.csv", *rows(100), *["x,,0"] * 50)
    lines = refusal(make_config())
    assert lines[:20] == [f"{path}:{n}: text is empty" for n in range(102, 122)]
    assert lines[20:] == [
        "tasks.t.files.train: 50 of 150 rows are bad, the first 20 are listed: mend them, they are more than the 1 % that data.on_bad_rows=skip leaves out (data.bad_rows_limit)"
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
        rule = "mend them, they are more than the 1 % that data.on_bad_rows=skip leaves out (data.bad_rows_limit)"
        assert refusal(config)[-1] == f"tasks.t.files.train: 1 of 99 rows are bad: {rule}"


def test_more_than_one_percent_may_be_left_out(tmp_path: Path, make_config: MakeConfig) -> None:
    write(tmp_path, "train.csv", "x,,0", *rows(3))
    config = make_config(data={"on_bad_rows": "skip", "bad_rows_limit": 0.25})
    assert read_split(config, "t", "train").table.num_rows == 3
    write(tmp_path, "train.csv", "x,,0", *rows(2))
    assert "1 of 3 rows are bad: mend them, they are more than the 25 % that" in refusal(config)[-1]


def test_unlabelled_test_split_has_null_labels(tmp_path: Path, make_config: MakeConfig) -> None:
    for split in ("test", "dev"):
        write(tmp_path, f"{split}.csv", "1,a", "2,b", header="id,text")
    config = make_config(files={"train": "train.csv", "dev": "dev.csv", "test": "test.csv"})
    assert read_split(config, "t", "test").table.column("label").to_pylist() == [None, None]
    assert "column 'label' (tasks.t.columns.label) is missing" in refusal(config, "dev")[0]


def test_labelled_test_split_is_validated(tmp_path: Path, make_config: MakeConfig) -> None:
    path = write(tmp_path, "test.csv", "1,a,1", "2,b,7", "3,c,", "4,d,-1")
    config = make_config(files={**FILES, "test": "test.csv"})
    assert refusal(config, "test")[0] == f"{path}:3: label must be a whole number in 0 … 1, got 7"
    write(tmp_path, "test.csv", "1,a,1", "3,c,", "4,d,-1")
    assert read_split(config, "t", "test").table.column("label").to_pylist() == [1, None, None]


def test_missing_column_is_named_with_its_key_and_those_there_are(tmp_path: Path, make_config: MakeConfig) -> None:
    path = write(tmp_path, "train.csv", "1,a,0", header="id,txt,label")
    assert refusal(make_config()) == [
        f"tasks.t.files.train: {path}: column 'text' (tasks.t.columns.text) is missing; "
        "its columns: ['id', 'txt', 'label']"
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


def test_duplicate_ids_of_a_test_split_are_found_across_files(tmp_path: Path, make_config: MakeConfig) -> None:
    one, two = write(tmp_path, "one.csv", *rows(3)), write(tmp_path, "two.csv", "7,a,0", "1,b,0", "7,c,1")
    config = make_config(files={split: ["one.csv", "two.csv"] for split in ("train", "dev", "test")})
    assert refusal(config, "test") == [
        f"{two}:3: duplicate id, {one}:3 has the same",
        f"{two}:4: duplicate id, {two}:2 has the same",
    ]
    for split in ("train", "dev"):
        stream = SplitStream(config, "t", split)
        assert sum(batch.num_rows for batch in stream.batches()) == 6
        assert stream.repeated_ids() == (2, f"{two}:3", f"{one}:3")


def test_class_without_training_rows_is_said(tmp_path: Path, make_config: MakeConfig) -> None:
    write(tmp_path, "train.csv", "1,a,0", "2,b,3")
    write(tmp_path, "dev.csv", "1,a,0")
    config = make_config(kind={"name": "classification", "classes": 5})
    assert refusal(config) == ["tasks.t.files.train: no training row has class 1, 2, 4"]
    assert read_split(config, "t", "dev").table.num_rows == 1


def test_everything_wrong_with_a_split_is_told_at_once(tmp_path: Path, make_config: MakeConfig) -> None:
    write(tmp_path, "one.csv", "1,a,0", "1,b,0", "2,,0")
    lines = refusal(make_config(files={**FILES, "test": ["one.csv", "none.csv"]}), "test")
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


@pytest.fixture
def splits_in_one(tmp_path: Path) -> list[str]:
    """One file of three splits; its texts by split are the lines with that word."""
    lines = [f"{n},w{n},{n % 2},{('train', 'train', 'dev', 'test')[n // 2 % 4]},{2000 + n % 2}" for n in range(40)]
    write(tmp_path, "all.csv", *lines, header="id,text,label,split,year")
    return lines


def texts(config: RunConfig, split: str) -> list[str]:
    return read_split(config, "t", split).table.column("text").to_pylist()  # type: ignore[no-any-return]


def test_one_file_serves_several_splits(tmp_path: Path, splits_in_one: list[str], make_config: MakeConfig) -> None:
    one = dict.fromkeys(("train", "dev", "test"), "all.csv")
    config = make_config(files=one, where={split: {"split": split} for split in one})
    for split in one:
        assert texts(config, split) == [line.split(",")[1] for line in splits_in_one if f",{split}," in line]
    config = make_config(files=one, where={"dev": {"split": ["train", "dev"], "year": 2001}})
    wanted = [line.split(",")[1] for line in splits_in_one if ",test," not in line and "2001" in line]
    assert texts(config, "dev") == wanted
    assert len(texts(config, "test")) == 40
    write(tmp_path, "flags.csv", "1,a,0,no", "2,b,1,No", "3,c,1,yes", "4,d,0,FALSE", header="id,text,label,clean")
    config = make_config(files=dict.fromkeys(("train", "dev"), "flags.csv"), where={"train": {"clean": False}})
    assert texts(config, "train") == ["a", "b", "d"]


def test_filter_that_fits_nothing_is_said(splits_in_one: list[str], make_config: MakeConfig) -> None:
    one = dict.fromkeys(("train", "dev"), "all.csv")
    config = make_config(files=one, where={"train": {"split": "validation"}, "dev": {"fold": 1}})
    said = "no row is left: where, hold_out or drop_labels leave all of them out"
    assert refusal(config) == [f"tasks.t.files.train: {said}"]
    assert "column 'fold' (tasks.t.where.dev.fold) is missing" in refusal(config, "dev")[0]
    with pytest.raises(UserError, match=r"tasks\.t\.where: is a mapping of splits to columns .* got .split: 'train'."):
        make_config(files=one, where={"split": "train"})


def test_held_out_rows_are_a_fixed_part_of_the_training_rows(tmp_path: Path, make_config: MakeConfig) -> None:
    write(tmp_path, "train.csv", *rows(4000), *rows(4000))
    drawn = {"files": {"train": "train.csv"}, "hold_out": {"dev": 0.1, "test": 0.2}}
    config = make_config(**drawn)
    assert config.scored_tasks == ("t",)
    assert parse_config(config.to_dict(), "test") == config
    found = {split: texts(config, split) for split in ("train", "dev")}
    test = make_config(**drawn, columns={"text": "text", "label": "label"})
    found["test"] = texts(test, "test")
    assert sorted(text for own in found.values() for text in own) == sorted([f"w{n} w1" for n in range(4000)] * 2)
    assert not set(found["train"]) & set(found["dev"])
    # Four standard deviations of a draw with these shares.
    for split, share in (("dev", 0.1), ("test", 0.2)):
        assert abs(len(set(found[split])) - share * 4000) < 4 * (4000 * share * (1 - share)) ** 0.5
    other = make_config(**{**drawn, "hold_out": {"dev": 0.1, "test": 0.2, "seed": 1}})
    assert set(texts(other, "dev")) != set(found["dev"])


@pytest.mark.parametrize(
    ("hold_out", "said"),
    [
        ({"dev": 0.1}, "hold_out: dev rows are drawn from the training files: leave files.dev out"),
        ({}, "hold_out: names no share: set dev, test or both"),
        ({"dev": 0.5, "test": 0.5}, "hold_out: dev and test must leave rows for training, got 0.5 and 0.5"),
    ],
)
def test_held_out_rows_that_cannot_be_drawn_are_refused(make_config: MakeConfig, hold_out: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        make_config(hold_out=hold_out)


def test_rows_with_dropped_labels_are_counted(tmp_path: Path, make_config: MakeConfig) -> None:
    for name in ("train.csv", "dev.csv"):
        write(tmp_path, name, *rows(4), "5,x,-", "6,y,-", "7,z,?")
    config = make_config(drop_labels=["-", "?"])
    stream = SplitStream(config, "t", "dev")
    assert sum(batch.num_rows for batch in stream.batches()) == 4
    assert stream.dropped == {"-": 2, "?": 1}


def test_dropped_rows_are_counted_in_the_split_that_they_would_be_in(tmp_path: Path, make_config: MakeConfig) -> None:
    write(tmp_path, "train.csv", *rows(100), *(f"{n},v{n},-" for n in range(100, 200)))
    config = make_config(files={"train": "train.csv"}, hold_out={"dev": 0.3}, drop_labels="-")
    streams = [SplitStream(config, "t", split) for split in ("train", "dev")]
    assert sum(batch.num_rows for stream in streams for batch in stream.batches()) == 100
    assert sum(stream.dropped["-"] for stream in streams) == 100
    assert 10 < streams[1].dropped["-"] < 50


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ({"thresholds": [1.0, 2.0]}, "thresholds must be 1 rising numbers for 2 classes, got [1.0, 2.0]"),
        ({"files": {"train": 5}}, "files: train must be a file or a list of files, as [a.csv, b.csv], got 5"),
        (
            {"files": {"train": ["a", 5]}},
            "files: train must be a file or a list of files, as [a.csv, b.csv], got ['a', 5]",
        ),
        ({"drop_labels": [None]}, 'drop_labels: must be texts, but YAML reads null: quote them, as ["-", "9"]'),
        ({"layout": {"encoding": "utf9"}}, "layout.encoding: there is no encoding 'utf9'; some are utf-8, latin-1"),
        ({"layout": {"delimiter": "ab"}}, "layout.delimiter: must be one character other than a quote or line end"),
        (
            {"layout": {"quoting": "none"}, "format": "parquet"},
            "layout.quoting has no meaning for files of format parquet",
        ),
        ({"kind": {"name": "binary", "labels": "no"}}, "must be a list of names, or a mapping of names to classes"),
        ({"kind": {"name": "binary", "labels": {"a": 0, "b": 2}}}, "must map names to each of 0 … 1"),
        ({"kind": {"name": "binary", "labels": {False: 0, "b": 1}}}, "quote yes, no and numbers"),
    ],
)
def test_what_cannot_be_declared_is_said_with_its_key(make_config: MakeConfig, task: Any, said: str) -> None:
    with pytest.raises(UserError) as caught:
        make_config(**task)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
