import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

import multitask
from multitask.config import RunConfig, parse_config
from multitask.data import TaskTable, check, declare_memory, prepare_tables, tables_from_memory
from multitask.errors import UserError

MakeConfig = Callable[..., RunConfig]
Dicts = list[dict[str, Any]]
COLUMNS = {"text": "text", "label": "label"}
SINGLE: dict[str, Any] = {"columns": {"id": "id", **COLUMNS}}
CROSS = {"columns": {"id": "id", "text_pair": "pair", **COLUMNS}, "pair_encoding": {"name": "cross_encoder"}}
APART = {**CROSS, "pair_encoding": {"name": "bi_encoder"}}


class Capsule:
    """Nothing but Arrow's PyCapsule interface, as polars has it."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._table.__arrow_c_stream__(requested_schema)


class Dataset:
    """The part of `datasets.Dataset` that is read: rows picked by `indices` from a table, sliced in the Arrow format."""

    def __init__(self, table: pa.Table, indices: Sequence[int] | None = None, **features: Any) -> None:
        self._table, self.features, self.format = table, features, "python"
        self._indices = range(len(table)) if indices is None else indices

    @property
    def column_names(self) -> list[str]:
        return list(self._table.column_names)

    def with_format(self, type: str) -> "Dataset":
        other = Dataset(self._table, self._indices, **self.features)
        other.format = type
        return other

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, rows: slice) -> pa.Table:
        assert self.format == "arrow"
        return self._table.take(list(self._indices[rows]))


KINDS: dict[str, Callable[[Dicts], Any]] = {
    "list": list,
    "pandas": pd.DataFrame,
    "arrow": pa.Table.from_pylist,
    "batches": lambda rows: pa.RecordBatchReader.from_batches(
        (table := pa.Table.from_pylist(rows)).schema, table.to_batches(max_chunksize=700)
    ),
    "capsule": lambda rows: Capsule(pa.Table.from_pylist(rows)),
    "dictionary": lambda rows: pa.Table.from_pylist(rows).set_column(
        1, "text", pa.array([row["text"] for row in rows]).dictionary_encode()
    ),
    "dataset": lambda rows: Dataset(pa.Table.from_pylist(rows)),
}


def some_rows(count: int) -> Dicts:
    return [
        {"id": f"r{n}", "text": " ".join(f"w{k}" for k in range(1 + n % 20)), "pair": f"w{n % 50}", "label": n % 2}
        for n in range(count)
    ]


def write(path: Path, rows: Dicts) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def read(path: Path) -> Dicts:
    """The rows of a file of the tiny tasks, all values texts."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def refusal(config: RunConfig, tables: Any) -> list[str]:
    with pytest.raises(UserError) as caught:
        tables_from_memory(config, tables)
    return str(caught.value).splitlines()


def contents(table: TaskTable) -> Iterator[Any]:
    everything = range(table.rows)
    yield table.ids(everything)
    yield table.texts(everything)
    yield np.asarray(table.lengths).tolist(), table.lengths.dtype
    yield np.asarray(table.labels).tolist(), table.labels.dtype
    encoded = table.encoded(everything)
    yield [[ids.tolist() for ids in column] for column in encoded.input_ids]
    yield None if encoded.second_start is None else encoded.second_start.tolist()


@pytest.mark.parametrize(
    ("task", "kind"),
    [*((CROSS, kind) for kind in KINDS), (SINGLE, "list"), (APART, "pandas")],
    ids=[*(f"cross-{kind}" for kind in KINDS), "single-list", "apart-pandas"],
)
def test_memory_and_a_file_of_the_same_rows_give_equal_tables(
    tmp_path: Path, make_config: MakeConfig, task: dict[str, Any], kind: str
) -> None:
    train, dev = some_rows(2100), some_rows(10)
    write(tmp_path / "train.csv", train)
    write(tmp_path / "dev.csv", dev)
    wanted = prepare_tables(make_config(**task))
    found = tables_from_memory(
        make_config(**task, files={}), {"t": {"train": KINDS[kind](train), "dev": KINDS[kind](dev)}}
    )
    for one, other in ((found.train["t"], wanted.train["t"]), (found.dev["t"], wanted.dev["t"])):
        assert list(contents(one)) == list(contents(other))
    assert found.pad_id == wanted.pad_id


def test_the_same_rows_in_another_form_are_not_tokenised_again(make_config: MakeConfig) -> None:
    config, rows = make_config(files={}), some_rows(50)
    paths = {
        tables_from_memory(config, {"t": {"train": make(rows), "dev": make(rows)}}).train["t"].path
        for make in KINDS.values()
    }
    assert len(paths) == 1
    rows[17]["text"] += " w9"
    other = tables_from_memory(config, {"t": {"train": rows, "dev": rows}})
    assert {other.train["t"].path} != paths
    assert other.hashes().keys() == {"t/train", "t/dev"}


def test_training_on_memory_and_on_files_gives_the_same_weights(tiny_tasks: dict[str, Any], tmp_path: Path) -> None:
    tiny_tasks["phases"] = [{"epochs": 1, "steps_per_epoch": 3}]
    on_files = multitask.train(tiny_tasks, progress=False, device="cpu")
    tables: dict[str, dict[str, Any]] = {}
    for number, (name, task) in enumerate(tiny_tasks["tasks"].items()):
        for split, files in task.pop("files").items():
            rows = read(tmp_path / files[0])
            tables.setdefault(name, {})[split] = rows if number else pd.DataFrame(rows)
    in_memory = multitask.train(tiny_tasks, tables, progress=False, device="cpu")
    assert in_memory.scores == on_files.scores
    assert in_memory.weights.keys() == on_files.weights.keys()
    assert all(torch.equal(in_memory.weights[name], on_files.weights[name]) for name in on_files.weights)
    assert in_memory.evaluate("dev") == on_files.evaluate("dev")


def test_a_test_split_in_memory_is_opened_and_scored(tiny_tasks: dict[str, Any], tmp_path: Path) -> None:
    tiny_tasks["phases"] = [{"epochs": 1, "steps_per_epoch": 1}]
    name, task = next(iter(tiny_tasks["tasks"].items()))
    rows = read(tmp_path / task["files"]["dev"][0])
    trained = multitask.train(tiny_tasks, {name: {"test": rows}}, progress=False, device="cpu")
    assert trained.evaluate("test") == {name: trained.evaluate("dev")[name]}


@pytest.mark.parametrize("kind", KINDS)
def test_bad_rows_are_named_by_their_number_from_0(make_config: MakeConfig, kind: str) -> None:
    rows = [{**row, "label": str(row["label"])} for row in some_rows(2200)]
    rows[17]["label"], rows[2100]["text"] = "x", " "
    config = make_config(files={})
    assert refusal(config, {"t": {"train": KINDS[kind](rows)}}) == [
        "tables.t.train:17: label is not a number: 'x'; for labels that are words give kind.labels",
        "tables.t.train:2100: text is empty",
        "tables.t.train: 2 of 2200 rows are bad: mend them or set data.on_bad_rows=skip",
    ]
    lenient = make_config(files={}, data={"on_bad_rows": "skip"})
    table = tables_from_memory(lenient, {"t": {"train": KINDS[kind](rows), "dev": rows[:9]}}).train["t"]
    assert table.ids([16, 17, 2098]) == ["r16", "r18", "r2099"]
    assert table.metadata["bad_rows_listed"][1] == "tables.t.train:2100: text is empty"


def test_one_odd_value_of_a_pandas_column_costs_one_row(make_config: MakeConfig) -> None:
    frame = pd.DataFrame(some_rows(6)).astype(object).sort_values("id", ascending=False)
    frame.iloc[0, 3], frame.iloc[1, 3], frame.iloc[2, 1], frame.iloc[3, 1] = "x", np.nan, None, 7
    assert refusal(make_config(files={}), {"t": {"train": frame}})[:-1] == [
        "tables.t.train:0: label is not a number: 'x'; for labels that are words give kind.labels",
        "tables.t.train:1: missing field 'label'",
        "tables.t.train:2: missing field 'text'",
        "tables.t.train:3: text is not a text: 7",
    ]


def test_a_list_may_hold_what_is_no_dict(make_config: MakeConfig) -> None:
    rows: list[Any] = some_rows(4)
    rows[1], rows[2] = ("w1", 1), {"id": "a", "text": "w1"}
    assert refusal(make_config(files={}), {"t": {"train": rows}})[:-1] == [
        "tables.t.train:1: not a dict but tuple",
        "tables.t.train:2: missing field 'label'",
    ]


def test_a_dataset_is_read_in_the_order_of_its_selection(make_config: MakeConfig) -> None:
    dataset = Dataset(pa.Table.from_pylist(some_rows(9)), [8, 3, 0])
    tables = tables_from_memory(make_config(files={}), {"t": {"train": dataset, "dev": dataset}})
    assert tables.train["t"].ids(range(3)) == ["r8", "r3", "r0"]


def test_class_numbers_of_a_dataset_are_read_by_their_names(make_config: MakeConfig) -> None:
    dataset = Dataset(pa.Table.from_pylist(some_rows(4)), label=SimpleNamespace(names=["yes", "no"]))
    config = make_config(kind={"name": "binary", "labels": ["no", "yes"]}, files={})
    tables = tables_from_memory(config, {"t": {"train": dataset, "dev": dataset}})
    assert np.asarray(tables.train["t"].labels).tolist() == [1, 0, 1, 0]
    plain = tables_from_memory(make_config(files={}), {"t": {"train": dataset, "dev": dataset}})
    assert np.asarray(plain.train["t"].labels).tolist() == [0, 1, 0, 1]


def test_rows_without_id_column_are_named_by_split_and_number(make_config: MakeConfig) -> None:
    tables = tables_from_memory(
        make_config(columns=COLUMNS, files={}), {"t": {"train": some_rows(3), "dev": some_rows(2)}}
    )
    assert tables.train["t"].ids(range(3)) == ["train:0", "train:1", "train:2"]
    assert tables.dev["t"].ids([1]) == ["dev:1"]


def test_tables_replace_the_declared_files_split_by_split(tmp_path: Path, make_config: MakeConfig) -> None:
    config = make_config(files={"train": "absent.csv", "dev": "dev.csv"})
    write(tmp_path / "dev.csv", some_rows(5))
    tables = tables_from_memory(config, {"t": {"train": some_rows(7)}})
    assert (tables.train["t"].rows, tables.dev["t"].rows, tables.test) == (7, 5, {})
    assert declare_memory(config, {"t": {"train": []}}).tasks["t"].files == {
        "train": ("memory:",),
        "dev": ("dev.csv",),
    }


@pytest.mark.parametrize(
    ("tables", "told"),
    [
        ({"u": {"train": []}}, "tables.u: there is no such task; valid: t"),
        ({"t": {"valid": []}}, "tables.t.valid: there is no such split; valid: train, dev, test"),
        ({"t": [{"text": "w1"}]}, "tables.t must be a dict of splits to rows, got list"),
        (pd.DataFrame(), "tables must be a dict of tasks to dicts of splits to rows, got DataFrame"),
        ({"t": {"train": []}}, "tables.t.train is empty"),
        ({"t": {"train": pd.DataFrame({"id": [], "text": [], "label": []})}}, "tables.t.train has no rows"),
        ({"t": {"train": some_rows(1) * 2}}, "tables.t.train: no training row has class 1"),
        (
            {"t": {"train": iter(some_rows(1))}},
            "tables.t.train: rows must be a pandas or polars DataFrame, an Arrow table, ",
        ),
        (
            {"t": {"train": [{"id": 1, "txt": "w1", "label": 0}]}},
            "tables.t.train: column 'text' (tasks.t.columns.text) is missing; its columns: ['id', 'txt', 'label']",
        ),
        (
            {"t": {"train": pd.DataFrame([[1, "a", "b", 0]], columns=["id", "text", "text", "label"])}},
            "tables.t.train: column 'text' (tasks.t.columns.text) occurs twice; ",
        ),
        (
            {"t": {"train": some_rows(2)}},
            "tasks.t.files.dev: the rows are not in files: name some, or give multitask.train",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(make_config: MakeConfig, tables: Any, told: str) -> None:
    first = refusal(make_config(files={}), tables)[0]
    assert first.startswith(told)


def test_duplicate_ids_name_both_rows(make_config: MakeConfig) -> None:
    rows = some_rows(4)
    rows[3]["id"] = "r0"
    assert refusal(make_config(files={}), {"t": {"train": some_rows(4), "dev": some_rows(4), "test": rows}}) == [
        "tables.t.test:3: duplicate id, tables.t.test:0 has the same"
    ]
    (told,) = tables_from_memory(make_config(files={}), {"t": {"train": rows, "dev": some_rows(4)}}).remarks()
    assert told.endswith(
        "ids that an earlier row has: 1, the first: tables.t.train:3, as tables.t.train:0; all rows are used"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_held_out_and_filtered_rows_of_memory_are_those_of_a_file(
    tmp_path: Path, make_config: MakeConfig, kind: str
) -> None:
    rows = [{**row, "text": f"w{n} {row['text']}", "fold": n % 3} for n, row in enumerate(some_rows(300))]
    keys: dict[str, Any] = {"hold_out": {"dev": 0.3}, "where": {"train": {"fold": [0, 1]}}}
    write(tmp_path / "train.csv", rows)
    on_file = prepare_tables(make_config(files={"train": "train.csv"}, **keys))
    in_memory = tables_from_memory(make_config(files={}, **keys), {"t": {"train": KINDS[kind](rows)}})
    for one, other in ((in_memory.train["t"], on_file.train["t"]), (in_memory.dev["t"], on_file.dev["t"])):
        assert list(contents(one)) == list(contents(other))
    assert in_memory.train["t"].rows + in_memory.dev["t"].rows == 200
    with pytest.raises(UserError, match=r"tables\.t\.dev: tasks\.t\.hold_out draws these rows from the training rows"):
        tables_from_memory(make_config(files={}, **keys), {"t": {"train": rows, "dev": rows}})


def test_a_contrastive_task_of_single_texts_has_no_dev_rows(tiny_tasks: dict[str, Any]) -> None:
    tiny_tasks["encoder"]["dropout"] = 0.1
    tiny_tasks["tasks"]["pairs"] = {"kind": {"name": "contrastive"}, "columns": {"text": "text"}}
    config = parse_config(tiny_tasks, "test")
    assert config.tasks["pairs"].files == {"train": ("memory:",)}
    assert refusal(config, {"pairs": {"dev": []}}) == [
        "tables.pairs.dev: without columns.text_pair there is no positive to look for: leave it out"
    ]


def test_a_task_without_files_is_a_task_in_memory(make_config: MakeConfig) -> None:
    config = make_config(files={})
    assert config.tasks["t"].files == {"train": ("memory:",), "dev": ("memory:",)}
    assert config.scored_tasks == ("t",)
    assert RunConfig.model_validate(config.to_dict()) == config
    told = "tasks.t.files.{0}: the rows are not in files: name some, or give multitask.train the rows as tables.t.{0}"
    with pytest.raises(UserError) as caught:
        prepare_tables(config)
    assert str(caught.value) == told.format("train")
    with pytest.raises(UserError) as caught:
        check(config)
    assert str(caught.value).splitlines() == [told.format("train"), told.format("dev")]
    with pytest.raises(UserError, match="train: memory: stands for all rows of a split"):
        make_config(files={"train": ["memory:", "a.csv"], "dev": "dev.csv"})


def test_an_auxiliary_task_is_scored_where_it_is_given_dev_rows(make_config: MakeConfig) -> None:
    tree = make_config(files={}).to_dict()
    tree["tasks"]["more"] = {**tree["tasks"]["t"], "auxiliary": True, "files": {}}
    config = parse_config(tree, "test")
    assert config.scored_tasks == ("t",)
    rows = {"train": some_rows(4), "dev": some_rows(3)}
    assert tables_from_memory(config, {"t": rows, "more": rows}).dev["more"].rows == 3
    without = tables_from_memory(config, {"t": rows, "more": {"train": some_rows(4)}})
    assert set(without.dev) == {"t"}
