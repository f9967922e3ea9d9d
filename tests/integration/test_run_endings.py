"""A run always ends and says why: diverged, on other rows, with damaged files, without its export."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cluster.storage.run_folder import RunFolder
from cluster.storage.storage import Storage
from cluster.training import loop, outcome
from cluster.training.history import History
from cluster.training.session import LocalSession
from cluster.training.worker import train
from multitask.config import RunConfig, parse_config
from tests.builders import build_tiny_bert, tiny_config, write_tiny_tasks
from tests.distributed.ranks import fork_ranks
from tests.integration.commands import final_files, result, write_recipe

Concord = Callable[..., Any]


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Path:
    return build_tiny_bert(folder / "encoder")


def _recipe(folder: Path, name: str, **changes: Any) -> str:
    training = {"save_every": 4, "log_every": 5}
    return str(write_recipe(folder / f"{name}.yaml", tiny_config(folder, name=name, training=training, **changes)))


@pytest.fixture(scope="module")
def whole(folder: Path, encoder: Path) -> Path:
    """The folder of a run that nothing happened to."""
    config = parse_config(tiny_config(folder, name="whole", training={"save_every": 4, "log_every": 5}), "test")
    session = LocalSession("cpu")
    assert train(config, session).status == "finished"
    return folder / "runs/whole"


def _finished(folder: Path, whole: Path, name: str) -> tuple[Path, str]:
    """A copy of the run, and its recipe."""
    run = folder / "runs" / name
    shutil.copytree(whole, run)
    return run, _recipe(folder, name)


def _cut_short(folder: Path, whole: Path, name: str) -> tuple[Path, str]:
    """A copy of the run whose newest checkpoint was not finished, and its recipe."""
    run, recipe = _finished(folder, whole, name)
    (sorted((run / "checkpoints").iterdir())[-1] / "manifest.json").unlink()
    return run, recipe


def test_diverged_run_has_failed(folder: Path, encoder: Path, concord: Concord) -> None:
    recipe = _recipe(folder, "diverged", optimizer={"name": "adamw", "lr": 1e30})
    ended = concord("train", recipe, "--no-ray", "training.non_finite_limit=1000000")
    assert ended.code == 1
    told = result(folder / "runs/diverged")
    assert told["status"] == "failed"
    assert told["error"].startswith("dev/mean was not a finite number in any evaluation: the training has diverged")
    for file in (folder / "runs/diverged").rglob("*.json"):
        assert not re.search(r"\b(NaN|Infinity)\b", file.read_text()), file
    refused = concord("export", str(folder / "runs/diverged"))
    assert refused.code == 2
    assert "the training has diverged" in refused.err


def test_rows_that_changed_between_two_sittings_are_refused(tmp_path: Path, concord: Concord) -> None:
    build_tiny_bert(tmp_path / "encoder")
    write_tiny_tasks(tmp_path)
    recipe = _recipe(tmp_path, "rows")
    assert concord("train", recipe, "--no-ray").code == 0
    before = final_files(tmp_path / "runs/rows")
    file = tmp_path / "sst-train.csv"
    file.write_text(re.sub(r"\t0\n", "\t1\n", file.read_text(), count=1))
    refused = concord("train", recipe, "--no-ray")
    assert refused.code == 2
    (line,) = refused.err.strip().splitlines()
    assert "tasks.sst.files.train: sst-train.csv no longer holds the rows that training began with" in line
    assert final_files(tmp_path / "runs/rows") == before
    assert concord("train", recipe, "--no-ray", "name=other").code == 0
    assert concord("train", recipe, "--no-ray", "--restart").code == 0


def test_refused_start_does_not_hold_its_name(folder: Path, encoder: Path, concord: Concord) -> None:
    recipe = _recipe(folder, "refused")
    refused = concord("train", recipe, "--no-ray", "data.max_length=65")
    assert refused.code == 2
    assert "data.max_length" in refused.err
    ended = concord("train", recipe, "--no-ray", "data.max_length=20")
    assert ended.code == 0, ended.err


@pytest.mark.parametrize("name", ["history.json", "run.json", "config.yaml", "result.json", "best_tables.json"])
def test_damaged_file_stops_no_run(folder: Path, whole: Path, concord: Concord, name: str) -> None:
    run, recipe = _cut_short(folder, whole, f"damaged-{name.partition('.')[0]}")
    before = (run / name).read_text()
    (run / name).write_text(before[: len(before) // 2])
    ended = concord("train", recipe, "--no-ray")
    assert ended.code == 0, ended.err
    weights = {k: v for k, v in final_files(whole).items() if k.startswith("shard")}
    assert {k: v for k, v in final_files(run).items() if k.startswith("shard")} == weights
    assert result(run)["history"] == result(whole)["history"]
    if name in ("history.json", "run.json"):
        (aside,) = run.glob(f"{name}.damaged-*")
        assert aside.read_text() == before[: len(before) // 2]
        assert f"it was set aside as {aside.name}" in ended.out + ended.err
    dev = json.loads((run / "history.json").read_text())["dev"]
    assert dev == json.loads((whole / "history.json").read_text())["dev"]


@pytest.mark.parametrize("name", ["best_tables.json", "dev_predictions.safetensors"])
@pytest.mark.parametrize("torn", [False, True])
def test_what_tells_of_the_best_comes_back_from_its_checkpoint(
    folder: Path, whole: Path, concord: Concord, name: str, torn: bool
) -> None:
    run, recipe = _finished(folder, whole, f"lost-{name.partition('.')[0]}-{torn}")
    before = (run / name).read_bytes()
    (run / name).unlink()
    if torn:
        (run / name).write_bytes(before[: len(before) // 2])
    ended = concord("train", recipe, "--no-ray")
    assert ended.code == 0, ended.err
    assert (run / name).read_bytes() == before


def test_history_of_an_ended_run_comes_back(folder: Path, whole: Path, concord: Concord) -> None:
    """Its scores: records of training are in no checkpoint."""
    run, recipe = _finished(folder, whole, "lost-history")
    before = json.loads((run / "history.json").read_text())
    (run / "history.json").unlink()
    ended = concord("train", recipe, "--no-ray")
    assert ended.code == 0, ended.err
    history = json.loads((run / "history.json").read_text())
    assert (history["train"], history["dev"]) == ([], before["dev"])


def test_export_of_the_best_with_a_damaged_result(folder: Path, whole: Path, concord: Concord) -> None:
    run = folder / "runs/torn-result"
    shutil.copytree(whole, run)
    (run / "result.json").write_text('{"best_st')
    ended = concord("export", str(run), "--output", str(folder / "exported"))
    assert ended.code == 0, ended.err
    assert json.loads((folder / "exported/concord.json").read_text())["step"] == result(whole)["best_step"]


def test_checkpoint_that_cannot_be_written_ends_the_run_after_the_next_step(
    folder: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only at the next save, which is four steps away."""
    training = {"save_every": 4, "evaluate_every": 10**6}
    config = parse_config(tiny_config(folder, name="unwritten", training=training), "test")
    write, train_step, trained = Storage.write, loop.Run.train_step, []

    def refuse(self: Storage, path: str, data: Any) -> None:
        if "shard-" in path:
            raise OSError(28, "No space left on device")
        write(self, path, data)

    def counted(self: loop.Run, record: Any) -> None:
        if self.saver._thread is not None:
            self.saver._thread.join(60)
        train_step(self, record)
        trained.append(self.progress.step)

    monkeypatch.setattr(Storage, "write", refuse)
    monkeypatch.setattr(loop.Run, "train_step", counted)
    with pytest.raises(OSError, match="No space left on device"):
        train(config, LocalSession("cpu"))
    assert trained[-1] in (4, 5)


def test_run_whose_export_fails_is_finished(
    folder: Path, encoder: Path, concord: Concord, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def full(run: RunFolder, step: int) -> None:
        seen.append(run.result())
        raise OSError(28, "No space left on device")

    recipe = _recipe(folder, "full")
    with monkeypatch.context() as patch:
        patch.setattr(outcome, "export_checkpoint", full)
        ended = concord("train", recipe, "--no-ray")
    assert ended.code == 0, ended.err
    assert seen[0]["status"] == "finished"
    assert "not exported: OSError: [Errno 28] No space left on device; `concord export" in ended.out + ended.err
    told = result(folder / "runs/full")
    assert told["status"] == "finished"
    assert "export" not in told["files"]
    assert concord("export", str(folder / "runs/full")).code == 0
    assert (folder / "runs/full/export/concord.json").is_file()


def _train_with_a_fault(tree: dict[str, Any], fault: str) -> None:
    """One of two ranks, on the second of which something goes wrong."""
    config, session = parse_config(tree, "test"), LocalSession("cpu")
    if session.rank == 1 and fault == "storage":
        RunFolder.of = classmethod(lambda cls, config: _raise(ImportError("no module s3fs")))  # type: ignore[assignment]
    if session.rank == 1 and fault == "step":
        loop.Run._after_step = lambda run, record: _raise(RuntimeError("device-side assert"))  # type: ignore[assignment]
    if session.rank == 0 and fault == "history":
        History.write = lambda history, folder: _raise(OSError(28, "No space left"))  # type: ignore[assignment]
    if session.rank == 0 and fault == "torn history":
        _tear(config)
    outcome = train(config, session)
    print(outcome.status, flush=True)


def _raise(error: Exception) -> None:
    raise error


def _tear(config: RunConfig) -> None:
    folder = RunFolder.of(config)
    storage: Storage = folder.storage
    text = storage.read("history.json")
    storage.write("history.json", text[: len(text) // 2])
    storage.delete_file(f"checkpoints/{storage.folders('checkpoints')[-1]}/manifest.json")


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("storage", "rank 1 on .*: ImportError: no module s3fs"),
        ("step", "rank 1 on .*: RuntimeError: device-side assert"),
        ("history", "rank 0 on .*: OSError: .*No space left"),
    ],
)
def test_what_one_rank_meets_ends_both(folder: Path, encoder: Path, tmp_path: Path, fault: str, told: str) -> None:
    tree = tiny_config(folder, name=f"fault-{fault}", training={"save_every": 4})
    first, second = fork_ranks(2, _train_with_a_fault, (tree, fault), tmp_path, timeout_s=240)
    for code, output in (first, second):
        assert code not in (0, None), output
    assert re.search(told, first[1] + second[1])


def test_two_ranks_go_on_from_a_torn_history(folder: Path, encoder: Path, tmp_path: Path) -> None:
    tree = tiny_config(folder, name="two", training={"save_every": 4})
    for fault in ("none", "torn history"):
        ranks = fork_ranks(2, _train_with_a_fault, (tree, fault), tmp_path, timeout_s=240)
        for code, output in ranks:
            assert code == 0, output[-3000:]
            assert output.splitlines()[-1] == "finished"
