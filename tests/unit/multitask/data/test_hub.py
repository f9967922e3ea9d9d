"""Hugging Face data sets: by name, saved in a folder, and in files that keep names for classes."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from multitask.config import RunConfig
from multitask.data import prepare_tables, read_split
from multitask.data.hub import load_data_set
from multitask.errors import UserError

MakeConfig = Callable[..., RunConfig]
ROWS = [{"sentence": f"w{n}", "label": n % 2} for n in range(5)]
NAMES = ["negative", "positive"]
FEATURES = {"sentence": {"_type": "Value"}, "label": {"_type": "ClassLabel", "names": NAMES}}
TASK: dict[str, Any] = {"columns": {"text": "sentence", "label": "label"}}
NAMED = {"name": "binary", "labels": ["positive", "negative"]}


@pytest.fixture(autouse=True)
def _nothing_loaded() -> Iterator[None]:
    load_data_set.cache_clear()
    yield
    load_data_set.cache_clear()


def table() -> pa.Table:
    """`ROWS` with the metadata that `datasets` writes into Parquet and Arrow files."""
    about = json.dumps({"info": {"features": FEATURES}})
    return pa.Table.from_pylist(ROWS).replace_schema_metadata({"huggingface": about})


def save(folder: Path) -> None:
    """What `Dataset.save_to_disk` writes, in two shards."""
    folder.mkdir(parents=True)
    names = [f"data-0000{number}-of-00002.arrow" for number in range(2)]
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    (folder / "dataset_info.json").write_text(json.dumps({"features": FEATURES}))
    for name, start in zip(names, (0, 3), strict=True):
        part = table()[start : start + 3]
        with pa.ipc.new_stream(str(folder / name), part.schema) as writer:
            writer.write_table(part)


def read(config: RunConfig, split: str = "train") -> list[tuple[str, float]]:
    found = read_split(config, "t", split).table
    return list(zip(found.column("text").to_pylist(), found.column("label").to_pylist(), strict=True))


def expected(named: bool) -> list[tuple[str, float]]:
    """`NAMED` counts the classes the other way round than the data set's own numbers."""
    return [(row["sentence"], 1 - row["label"] if named else row["label"]) for row in ROWS]  # type: ignore[misc, operator]


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("file", ["saved/train", "x.parquet"])
def test_names_of_classes_are_read_from_files_of_data_sets(
    tmp_path: Path, make_config: MakeConfig, file: str, named: bool
) -> None:
    save(tmp_path / "saved" / "train")
    pa.parquet.write_table(table(), tmp_path / "x.parquet")
    kind = NAMED if named else {"name": "binary"}
    assert read(make_config(**TASK, kind=kind, files={"train": file, "dev": file})) == expected(named)


def test_saved_data_set_of_several_splits_asks_for_one(tmp_path: Path, make_config: MakeConfig) -> None:
    save(tmp_path / "saved" / "train")
    (tmp_path / "saved" / "dataset_dict.json").write_text('{"splits": ["train"]}')
    with pytest.raises(
        UserError, match=r"saved is a data set with several splits: name the folder of one, as .*saved/train"
    ):
        read(make_config(**TASK, files={"train": "saved", "dev": "saved"}))


class Dataset(SimpleNamespace):
    """The part of `datasets.Dataset` that is read."""

    column_names = ("sentence", "label")
    features = {"label": SimpleNamespace(names=NAMES)}  # noqa: RUF012

    def with_format(self, type: str) -> "Dataset":
        assert type == "arrow"
        return self

    def __len__(self) -> int:
        return len(ROWS)

    def __getitem__(self, rows: slice) -> pa.Table:
        return table()[rows]


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("imdb#train", [("imdb", None)]),
        ("glue/sst2#train", [("glue/sst2", None), ("glue", "sst2")]),
        ("nyu-mll/glue/sst2#train", [("nyu-mll/glue", "sst2")]),
        ("/folder/of/files#train", [("/folder/of/files", None)]),
    ],
)
def test_data_set_by_name(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, name: str, asked: list[tuple[str, str | None]]
) -> None:
    seen: list[tuple[str, str | None]] = []

    def load(path: str, configuration: str | None, *, split: str) -> Dataset:
        assert split == "train"
        seen.append((path, configuration))
        if (path, configuration) != asked[-1]:
            raise ConnectionError(f"Couldn't reach {path!r}\non the Hub")
        return Dataset()

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load))
    config = make_config(**TASK, kind=NAMED, files=dict.fromkeys(("train", "dev"), f"hf://{name}"))
    assert read(config) == expected(named=True)
    assert seen == asked
    tables = prepare_tables(config)
    assert (tables.train["t"].rows, len(set(tables.hashes().values()))) == (5, 1)


@pytest.mark.parametrize(
    ("name", "module", "said"),
    [
        ("glue/sst2#train", None, "data sets by name need the package datasets: pip install 'concord-mtl[datasets]'"),
        ("glue/sst2", None, "a data set is named with its split, as hf://glue/sst2#train"),
        ("#train", None, "a data set is named with its split, as hf://glue/sst2#train"),
        ("a/b#x", SimpleNamespace(), "cannot load hf://a/b#x: no 'a/b' here; no 'a' here"),
    ],
)
def test_data_set_that_cannot_be_had_is_one_line(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, name: str, module: Any, said: str
) -> None:
    def load(path: str, *_: object, **__: object) -> None:
        raise ValueError(f"no {path!r}\nhere")

    if module is not None:
        module.load_dataset = load
    monkeypatch.setitem(sys.modules, "datasets", module)
    with pytest.raises(UserError) as caught:
        read(make_config(**TASK, files={"train": f"hf://{name}", "dev": "x.csv"}))
    assert str(caught.value).startswith("tasks.t.files.train: ")
    assert str(caught.value).endswith(said)


def test_the_real_package(tmp_path: Path, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of files stands for a data set on the hub: `datasets` loads both by one function."""
    datasets = pytest.importorskip("datasets", reason="the package datasets is not installed")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    features = datasets.Features(sentence=datasets.Value("string"), label=datasets.ClassLabel(names=NAMES))
    whole = datasets.Dataset.from_list(ROWS, features=features)
    whole.select(range(5)).save_to_disk(str(tmp_path / "saved" / "train"))
    (tmp_path / "folder").mkdir()
    whole.to_parquet(str(tmp_path / "folder" / "train.parquet"))
    for file in ("saved/train", "folder/train.parquet", f"hf://{tmp_path}/folder#train"):
        assert read(make_config(**TASK, kind=NAMED, files={"train": file, "dev": file})) == expected(named=True)
