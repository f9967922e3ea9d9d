"""A secret in a config is found nowhere: not in the run folder, W&B's files, stdout or stderr."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from multitask.config import parse_config
from multitask.errors import UserError
from multitask.redaction import redacted, without_secrets
from tests.builders import build_tiny_bert, tiny_config
from tests.integration.commands import write_recipe

SECRET = "hunter22xyz"
EXTRA = {"api_key": SECRET, "nested": {"password": SECRET, "pin_token": SECRET}, "place": f"s3://me:{SECRET}@bucket/x"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"cannot read s3://me:{SECRET}@bucket/a: 403", "cannot read s3://bucket/a: 403"),
        (f"https://x/y?sig={SECRET}&n=1", "https://x/y?sig=…&n=1"),
        (f"s3://b/x?secret_key={SECRET}&endpoint_override=h", "s3://b/x?secret_key=…&endpoint_override=h"),
        ("s3://bucket/a@b/train.csv and me@host.org", "s3://bucket/a@b/train.csv and me@host.org"),
    ],
)
def test_text_loses_what_uris_carry(text: str, shown: str) -> None:
    assert redacted(text) == shown
    assert str(UserError(text)) == shown
    assert str(pickle.loads(pickle.dumps(UserError(text)))) == shown


def test_switches_and_tasks_are_no_secrets() -> None:
    value = {"token_types": False, "tasks": {"token": {"rows": 3}}, "budget_tokens": 5, "apiKey": SECRET}
    assert without_secrets(value) == {"token_types": False, "tasks": {"token": {"rows": 3}}, "budget_tokens": 5}


def test_secret_that_changes_is_the_same_training(tiny_tasks: dict[str, Any]) -> None:
    hashes = set()
    for secret in (SECRET, "another"):
        files = {split: [f"https://x/{split}.csv?sig={secret}"] for split in ("train", "dev")}
        tree = tiny_tasks | {"tasks": {"sst": {**tiny_tasks["tasks"]["sst"], "files": files}}}
        config = parse_config(tree, "test")
        assert secret in str(config.to_dict())
        assert secret not in str(config.to_public())
        hashes.add(config.trajectory_hash())
    assert len(hashes) == 1


def test_secret_is_nowhere_after_a_run(tmp_path: Path, folder: Path, concord: Callable[..., Any]) -> None:
    build_tiny_bert(folder / "encoder")
    changes = {"tracking": {"mode": "offline", "extra": EXTRA}, "cluster": {"storage": str(tmp_path / "runs")}}
    tree = tiny_config(folder, name="secret", description=f"from https://me:{SECRET}@host/x", **changes)
    recipe = str(write_recipe(tmp_path / "secret.yaml", tree))
    shown = [concord("train", recipe, "--no-ray", *more) for more in ((), ("--json",), ("--dry-run",))]
    assert [ended.code for ended in shown] == [0, 0, 0]
    shown.append(concord("train", recipe, "--no-ray", "name=other", f"data.root=nosuch://me:{SECRET}@host/x"))
    assert shown[-1].code == 2
    for ended in shown:
        assert SECRET not in ended.out + ended.err
    files = [file for file in (tmp_path / "runs").rglob("*") if file.is_file()]
    assert any(file.suffix == ".wandb" for file in files)
    assert [file for file in files if SECRET.encode() in file.read_bytes()] == []
    assert concord("report", str(tmp_path / "runs/secret")).code == 0
    assert SECRET not in (tmp_path / "runs/secret/report.html").read_text()
