"""The tables that a run opens."""

from pathlib import Path

from multitask.config import parse_config
from multitask.data import prepare_tables


def test_only_scored_tasks_have_dev_tables(tiny_tasks: dict, tmp_path: Path) -> None:
    (tmp_path / "plain.txt").write_text("one\ntwo\n")
    tasks = tiny_tasks["tasks"]
    tasks["extra"] = {**tasks["sst"], "auxiliary": True, "files": {"train": tasks["sst"]["files"]["train"]}}
    tasks["plain"] = {
        "kind": {"name": "contrastive"},
        "columns": {"text": "text"},
        "files": {"train": str(tmp_path / "plain.txt")},
    }
    tiny_tasks["encoder"]["dropout"] = 0.1
    tables = prepare_tables(parse_config(tiny_tasks, "test"))
    assert set(tables.train) == {"sst", "quora", "sts", "extra", "plain"}
    assert set(tables.dev) == {"sst", "quora", "sts"}
    assert set(tables.hashes()) == {f"{t}/train" for t in tables.train} | {f"{t}/dev" for t in tables.dev}
