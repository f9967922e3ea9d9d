"""Files as they lie around: compressed, in folders and shards, in other encodings, under wrong names."""

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet
import pytest

from multitask.config import RunConfig
from multitask.data import read_split
from multitask.data.expansion import expand
from multitask.errors import UserError

MakeConfig = Callable[..., RunConfig]
ROWS = [{"id": str(n), "text": f"w{n}", "label": n % 2} for n in range(6)]
CSV = "id,text,label\n" + "".join(f"{row['id']},{row['text']},{row['label']}\n" for row in ROWS)


def parquet(rows: list[dict[str, Any]] = ROWS) -> bytes:
    sink = pa.BufferOutputStream()
    pa.parquet.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def zstandard(content: bytes) -> bytes:
    return pa.Codec("zstd").compress(content, asbytes=True)  # type: ignore[no-any-return]


def texts(config: RunConfig, split: str = "train") -> list[str]:
    return read_split(config, "t", split).table.column("text").to_pylist()  # type: ignore[no-any-return]


def refusal(config: RunConfig) -> str:
    with pytest.raises(UserError) as caught:
        read_split(config, "t", "train")
    assert "\n" not in str(caught.value)
    return str(caught.value)


PACKED = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstandard}


@pytest.mark.parametrize("named", [True, False], ids=["by suffix", "by content"])
@pytest.mark.parametrize("suffix", PACKED)
def test_compressed_files(tmp_path: Path, make_config: MakeConfig, suffix: str, named: bool) -> None:
    for name, content in (("a.csv", CSV.encode()), ("a.parquet", parquet())):
        file = f"{name}.{suffix}" if named else name
        (tmp_path / file).write_bytes(PACKED[suffix](content))
        config = make_config(files={"train": file, "dev": "x.csv"}, columns={"text": "text", "label": "label"})
        result = read_split(config, "t", "train").table
        assert result.column("text").to_pylist() == [row["text"] for row in ROWS]
        assert result.column("id")[0].as_py() == f"a:{2 if name == 'a.csv' else 1}"


def test_gzip_of_several_members_is_read_whole_and_a_cut_one_is_refused(
    tmp_path: Path, make_config: MakeConfig
) -> None:
    half = len(CSV) // 2
    (tmp_path / "train.csv").write_bytes(gzip.compress(CSV[:half].encode()) + gzip.compress(CSV[half:].encode()))
    assert texts(make_config()) == [row["text"] for row in ROWS]
    long = gzip.compress(("id,text,label\n" + "".join(f"{n},w{n},{n % 2}\n" for n in range(9000))).encode())
    (tmp_path / "train.csv").write_bytes(long[: len(long) // 2])
    assert "train.csv: the compressed file is cut or damaged" in refusal(make_config())


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_byte_order_mark_tells_the_encoding(tmp_path: Path, make_config: MakeConfig, encoding: str) -> None:
    (tmp_path / "train.csv").write_bytes(CSV.encode(encoding))
    assert texts(make_config()) == [row["text"] for row in ROWS]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("train.csv", CSV.encode("utf-16-le"), "looks like UTF-16: set tasks.t.layout.encoding=utf-16-le"),
        ("train.tsv", CSV.encode("utf-16-be"), "looks like UTF-16: set tasks.t.layout.encoding=utf-16-be"),
        ("train.csv", parquet(), "is a Parquet file, not csv: set tasks.t.format=parquet, or give it that suffix"),
        ("train.txt", gzip.compress(parquet()), "is a Parquet file, not lines: set tasks.t.format=parquet"),
        ("train.csv", json.dumps(ROWS).encode(), "is a JSON array, not csv: set tasks.t.format=json"),
        ("train.jsonl", json.dumps(ROWS, indent=1).encode(), "is a JSON array, not jsonl: set tasks.t.format=json"),
        ("train.tsv", json.dumps(ROWS[0]).encode(), "is JSON, not tsv: set tasks.t.format=jsonl"),
        ("train.csv", b"<!DOCTYPE html><p>404", "is a web page, not csv"),
        ("train.csv", b"PK\x03\x04....", "is a ZIP archive or a spreadsheet, not csv"),
        ("train.csv", b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer and not the file itself"),
        ("train.parquet", CSV.encode(), "not a Parquet file"),
        ("train.csv", CSV.replace(",", ";").encode(), "is the delimiter ';'? then set layout.delimiter"),
    ],
)
def test_file_that_is_something_else_is_named(
    tmp_path: Path, make_config: MakeConfig, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    found = refusal(make_config(files={"train": name, "dev": "x.csv"}))
    assert said in found
    assert found.startswith(f"tasks.t.files.train: {tmp_path / name}")


def test_wrong_encoding_is_said(tmp_path: Path, make_config: MakeConfig) -> None:
    (tmp_path / "train.csv").write_bytes(b"caf\xe9,a,0\n")
    assert "train.csv is not ascii: ordinal not in range(128)" in refusal(make_config(layout={"encoding": "ascii"}))


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    folder = tmp_path / "shards"
    (folder / "deep").mkdir(parents=True)
    for number in range(3):
        rows = "".join(line + "\n" for line in CSV.splitlines()[1 + 2 * number : 3 + 2 * number])
        (folder / ("deep" if number == 2 else "") / f"part-{number}.csv").write_text("id,text,label\n" + rows)
    for name in ("README.md", "_SUCCESS", ".hidden.csv"):
        (folder / name).write_text("not data")
    return folder


@pytest.mark.parametrize("name", ["shards", "shards/", "shards/**/part-?.csv", "memory", "memory pattern"])
def test_folders_and_patterns_are_their_files_in_order(
    tmp_path: Path, make_config: MakeConfig, shards: Path, name: str
) -> None:
    if name.startswith("memory"):
        filesystem = fsspec.filesystem("memory")
        for file in shards.rglob("*.*"):
            filesystem.pipe(f"/{tmp_path.name}/{file.relative_to(shards)}", file.read_bytes())
        name = f"memory://{tmp_path.name}/" + ("**/part-*.csv" if "pattern" in name else "")
    expected = ["w4", "w5", "w0", "w1", "w2", "w3"]
    assert texts(make_config(files={"train": name, "dev": "x.csv"})) == expected


def test_names_that_stand_for_no_file_are_said(tmp_path: Path, make_config: MakeConfig, shards: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name, said in (("no-*.csv", "no file fits"), ("empty", "holds no file of a suffix that tells a format")):
        assert said in refusal(make_config(files={"train": name, "dev": "x.csv"}))
    assert expand(str(tmp_path / "shards"), any_suffix=True)[0].endswith("README.md")
    literal = tmp_path / "a[1].csv"
    literal.write_text(CSV)
    assert texts(make_config(files={"train": "a[1].csv", "dev": "x.csv"})) == [row["text"] for row in ROWS]


def test_a_file_that_joins_a_folder_is_another_table(tmp_path: Path, make_config: MakeConfig, shards: Path) -> None:
    config = make_config(files={"train": "shards", "dev": "x.csv"})
    before = read_split(config, "t", "train").content_hash
    (shards / "part-9.csv").write_text("id,text,label\n9,w9,0\n")
    assert read_split(config, "t", "train").content_hash != before
