"""What `concord data check` shows a reader."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.builders import build_tiny_bert, tiny_config, write_tiny_tasks


def test_cut_rows_and_tasks_without_labels_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, concord: Callable[..., Any]
) -> None:
    write_tiny_tasks(tmp_path)
    build_tiny_bert(tmp_path / "encoder")
    (tmp_path / "plain.txt").write_text("a film\n" * 3 + "a film " * 30 + "\n")
    tree = tiny_config(tmp_path)
    tree["encoder"]["dropout"] = 0.1
    tree["data"]["max_length"] = 24
    contrastive = {"kind": {"name": "contrastive"}, "columns": {"text": "text"}, "files": {"train": "plain.txt"}}
    tree["tasks"] = {"sst": tree["tasks"]["sst"], "plain": contrastive}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(tree))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    ended = concord("data", "check", "recipe.yaml")
    assert ended.code == 0
    told = [line for line in ended.out.splitlines() if line.startswith(("cut: ", "left out: ", "ids: "))]
    assert told == [
        "cut: plain/train: 1 of 4 rows (25.0%) are longer than data.max_length=24 tokens; what is beyond is not read"
    ]
    tree["tasks"]["plain"] |= {
        "columns": {"text": "text", "label": "label", "id": "id"},
        "files": {"train": "x.csv", "dev": "x.csv"},
    }
    tree["tasks"]["plain"] |= {"kind": {"name": "binary"}, "drop_labels": ["-"]}
    (tmp_path / "x.csv").write_text("id,text,label\n1,a,0\n1,b,1\n2,c,-\n")
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(tree))
    out = concord("data", "check", "recipe.yaml").out.splitlines()
    for split in ("train", "dev"):
        assert f"left out: plain/{split}: rows with drop_labels ('-': 1)" in out
        assert f"ids: plain/{split}: ids that an earlier row has: 1; all rows are used" in out
    tree["tasks"]["plain"]["files"]["test"] = "absent.csv"
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(tree))
    assert "absent.csv" in concord("data", "check", "recipe.yaml").err
    assert concord("data", "check", "recipe.yaml", "--split", "dev").out.count("plain") == 4
    assert (
        "--split must be train, dev, dev_NAME or test, got 'devel'"
        in concord("data", "check", "recipe.yaml", "--split", "devel").err
    )
