"""The command line in this process, on an export of random weights: what it prints, refuses, and with which code."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from multitask.config import parse_config
from multitask.export import write_export
from multitask.model import build_model
from tests.builders import build_tiny_bert, tiny_config, write_tiny_tasks

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`recipe.yaml`, its data, and `model`, an untrained export; sst and sts have test files without labels."""
    folder = tmp_path_factory.mktemp("cli")
    write_tiny_tasks(folder)
    build_tiny_bert(folder / "encoder")
    (folder / "sst-test.csv").write_text("\tid\tsentence\n0\tt1\ta superb film\n1\tt2\tdull\n")
    (folder / "sts-test.csv").write_text("\tid\tsentence1\tsentence2\n0\tt1\tcat\tdog\n1\tt2\tboat\tboat\n")
    tree = tiny_config(folder)
    for task in ("sst", "sts"):
        tree["tasks"][task]["files"]["test"] = [f"{task}-test.csv"]
    (folder / "recipe.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    config = parse_config(tree, "test")
    arguments: dict[str, Any] = {"step": 1, "data_hashes": {}, "versions": {}}
    write_export(folder / "model", build_model(config), config, scores={"dev/sst/accuracy": 0.125}, **arguments)
    return folder


@pytest.fixture
def concord(place: Path, monkeypatch: pytest.MonkeyPatch, concord: Run) -> Run:
    """Runs `concord LINE` in the folder `place`; gives exit code, stdout and stderr."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("COLUMNS", "200")
    return lambda line, stdin="": concord(*shlex.split(line), stdin=stdin)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("train mian", "did you mean 'main'?"),
        ("train absent.yaml", "there is no recipe file absent.yaml"),
        ("report nowhere", "nowhere is neither a run folder nor an export, and there is no sweep 'nowhere'"),
        ("recipes show c-b4", "did you mean 'c-b"),
        ("recipes table nowhere", "nowhere is no run folder"),
        ("train main optimizer.name=soap", "optimizer.name: soap keeps a list, which a checkpoint cannot hold"),
        ("train main optimizer.name=prodigy", "optimizer.name: prodigy estimates one step size from all tensors"),
        ("train main +sampel", "there is no overlay 'sampel'; valid: sample; did you mean 'sample'?"),
        (
            "train recipe.yaml optimizer.lrr=1 --dry-run",
            "unknown key 'optimizer.lrr' where optimizer.name=adamw; valid: lr, weight_decay",
        ),
        ("train recipe.yaml tasks.sst.files.dev=absent.csv --dry-run", "absent.csv"),
        ("train recipe.yaml cluster.workers=5000 --dry-run", "cluster.workers=5000 asks for 5000 CPU"),
        (
            "train recipe.yaml cluster.storage=nothing://x --no-ray --restart",
            "cluster.storage: cannot use 'nothing://x",
        ),
        ("train recipe.yaml encoder.name=absent --dry-run", "encoder.name"),
        ("data check recipe.yaml tasks.sts.files.dev=absent.csv", "tasks.sts.files.dev: there is no file"),
        ("predict absent sst text", "absent is neither an export"),
        ("predict model foo text", "the model has no task 'foo'; tasks: sst, quora, sts"),
        ("predict model quora one two three", "give an even number of them, got 3"),
        ("predict model sst", "give texts, a file or '-', or else --split"),
        ("predict model sst text --split dev", "give texts, a file or '-', or else --split"),
        ("predict model sst text --submission", "--submission needs --split"),
        ("predict model quora --split test", "--split: task quora has no files for 'test'"),
        ("predict model sst text --output absent/out.csv", "absent/out.csv"),
        ("predict model sst -", "holds no text"),
        ("evaluate model --split foo", "--split must be train, dev, dev_NAME or test, got 'foo'"),
        ("evaluate model --task foo", "--task: the model has no task 'foo'"),
        ("evaluate model --split test --task quora", "--split test: no task has files for it"),
        ("evaluate model --split test --task sst", "label"),
        ("evaluate model --split test", "label"),
        ("evaluate model data.root=absent --task sst", "absent/sst-dev.csv"),
        ("export model", "is no run folder: it has no config.yaml"),
        ("export absent", "is no run folder: it has no config.yaml"),
    ],
)
def test_mistake_is_one_line_and_code_2(concord: Run, line: str, told: str) -> None:
    code, out, err = concord(line)
    assert code == 2, err
    assert told in err
    assert err.startswith("concord: ")
    assert len(err.splitlines()) == 1
    assert out == ""


def test_mistake_is_told_to_programs_too(concord: Run) -> None:
    code, out, err = concord("predict model foo text --json")
    assert code == 2
    assert err == f"concord: {json.loads(out)['error']}\n"


@pytest.mark.parametrize(
    ("task", "row", "told"),
    [
        ("sst", "9\tx\tfine\t7", "sentiment must be a whole number in 0 … 4, got 7"),
        ("sst", "9\tx\tfine\tgood", "sentiment is not a number: 'good'; for labels that are words give kind.labels"),
        ("sst", "9\tx\t \t1", "sentence is empty"),
        ("sts", "9\tx\ta\tb\t5.5", "similarity must lie in [0, 5], got 5.5"),
        ("quora", "9\tx\ta\tb\t", "is_duplicate is empty"),
    ],
)
def test_bad_row_is_told_by_file_and_line(
    concord: Run, place: Path, tmp_path: Path, task: str, row: str, told: str
) -> None:
    lines = (place / f"{task}-dev.csv").read_text().splitlines()
    (place / "bad.csv").write_text("\n".join([*lines[:4], row, *lines[4:]]) + "\n")
    code, _, err = concord(f"train recipe.yaml tasks.{task}.files.dev=bad.csv --dry-run")
    assert code == 2
    assert f"bad.csv:5: {told}" in err.splitlines()[0]
    skip = "data.on_bad_rows=skip --json"
    code, _, err = concord(f"data check recipe.yaml tasks.{task}.files.dev=bad.csv {skip}")
    assert code == 2
    assert "1 of 21 rows are bad: mend them, they are more than the 1 %" in err
    write_tiny_tasks(tmp_path, dev_rows=120)
    lines = (tmp_path / f"{task}-dev.csv").read_text().splitlines()
    (place / "long.csv").write_text("\n".join([*lines[:4], row, *lines[4:]]) + "\n")
    code, out, _ = concord(f"data check recipe.yaml tasks.{task}.files.dev=long.csv {skip}")
    assert code == 0
    [split] = [s for s in json.loads(out)["splits"] if s["task"] == task and s["split"] == "dev"]
    assert split["rows"] == 120
    assert [(bad["line"], bad["reason"]) for bad in split["bad_rows"]] == [(5, told)]


def test_data_check_counts(concord: Run) -> None:
    code, out, _ = concord("data check recipe.yaml --json")
    assert code == 0
    rows = {(s["task"], s["split"]): s["rows"] for s in json.loads(out)["splits"]}
    train = {("sst", "train"): 60, ("quora", "train"): 60, ("sts", "train"): 50}
    dev = {(task, "dev"): 20 for task in ("sst", "quora", "sts")}
    assert rows == train | dev | {("sst", "test"): 2, ("sts", "test"): 2}
    code, out, _ = concord("data check recipe.yaml")
    assert code == 0
    assert "20%" in out


def test_lines_of_a_file_and_of_stdin_are_predicted_alike(concord: Run, place: Path) -> None:
    (place / "texts.txt").write_text("superb\n\n  \ndull film\n")
    _, from_file, _ = concord("predict model sst texts.txt")
    _, from_stdin, _ = concord("predict model sst -", stdin="superb\n\ndull film\n")
    _, from_arguments, _ = concord("predict model sst superb 'dull film'")
    assert from_file == from_stdin == from_arguments
    assert [line.split("\t")[1] for line in from_file.splitlines()] == ["superb", "dull film"]


@pytest.mark.parametrize(
    ("text", "told"), [("a\tb\nalone\n", ":2: a line of this task is two texts"), ("\na\tb\tc\n", ":2: .* got 3")]
)
def test_line_that_is_no_pair_is_told_by_number(concord: Run, text: str, told: str) -> None:
    code, _, err = concord("predict model sts -", stdin=text)
    assert code == 2
    assert len(err.splitlines()) == 1
    assert re.search(told, err)


def test_file_of_other_encoding_is_told(concord: Run, place: Path) -> None:
    (place / "latin.txt").write_bytes("größe\n".encode("latin-1"))
    code, _, err = concord("predict model sst latin.txt")
    assert code == 2
    assert "latin.txt: not valid UTF-8" in err


def test_long_text_is_a_text(concord: Run) -> None:
    text = "a superb film " * 400
    code, out, err = concord(f"predict model sst '{text}'")
    assert code == 0, err
    assert out.rstrip("\n").endswith(text.rstrip("\n"))


def test_json_holds_predictions_and_probabilities(concord: Run) -> None:
    _, out, _ = concord("predict model quora cat dog a b --json")
    told = json.loads(out)
    assert told["texts"] == [["cat", "dog"], ["a", "b"]]
    assert [sum(row) for row in told["probabilities"]] == [pytest.approx(1)] * 2
    assert told["predictions"] == [int(yes > 0.5) for _, yes in told["probabilities"]]
    _, out, _ = concord("predict model sts cat dog --json")
    assert "probabilities" not in json.loads(out)
    assert 0 <= json.loads(out)["predictions"][0] <= 5


@pytest.mark.parametrize(
    ("task", "header"), [("sst", "id \t Predicted_Sentiment "), ("sts", "id \t Predicted_Similiary ")]
)
def test_submission_holds_the_ids_of_the_split_and_the_predictions(concord: Run, task: str, header: str) -> None:
    _, printed, _ = concord(f"predict model {task} --split test --submission")
    _, out, _ = concord(f"predict model {task} --split test --json")
    code, nothing, _ = concord(f"predict model {task} --split test --submission --output out.csv")
    assert (code, nothing) == (0, "")
    assert Path("out.csv").read_text() == printed
    lines = printed.splitlines()
    assert lines[0] == header
    told = json.loads(out)
    assert told["ids"] == ["t1", "t2"]
    assert [line.split(" , ") for line in lines[1:]] == [
        [identity, f"{value} "] for identity, value in zip(told["ids"], told["predictions"], strict=True)
    ]


def test_evaluate_scores_what_predict_predicts(concord: Run, place: Path) -> None:
    _, out, _ = concord("evaluate model --json")
    told = json.loads(out)
    assert told["reported"] == {"dev/sst/accuracy": 0.125}
    _, out, _ = concord("predict model sst --split dev --json")
    # The tiny labels go 0, 1, 2, 3, 4, 0, …
    right = [value == row % 5 for row, value in enumerate(json.loads(out)["predictions"])]
    assert told["scores"]["sst"]["accuracy"] == pytest.approx(sum(right) / 20)
    _, table, _ = concord("evaluate model --task sst")
    assert "0.1250" in table
    assert f"{sum(right) / 20:.4f}" in table


def test_evaluate_reads_data_that_lies_elsewhere(concord: Run, place: Path, tmp_path: Path) -> None:
    write_tiny_tasks(tmp_path, seed=5)
    _, here, _ = concord("evaluate model --task sts --json")
    code, there, _ = concord(f"evaluate model data.root={tmp_path} --task sts --json")
    assert code == 0
    assert json.loads(here)["scores"] != json.loads(there)["scores"]


def test_dry_run_prints_the_plan_and_makes_no_run(concord: Run, place: Path) -> None:
    code, out, _ = concord("train recipe.yaml phases.0.epochs=3 --dry-run")
    assert code == 0
    # 60 rows in batches of 6 make ten rounds an epoch.
    assert "steps        30\n" in out
    sizes = "sst (10 batches of 6), quora (10 batches of 6), sts (9 batches of 6)"
    assert f"phase 0      3 epochs of round_robin over {sizes}" in out
    assert yaml.safe_load(out.split("┏")[0])["phases"][0]["epochs"] == 3
    assert not (place / "runs").exists()


def test_restart_refuses_a_folder_that_is_no_run(concord: Run, place: Path) -> None:
    (place / "mine").mkdir()
    (place / "mine" / "thesis.txt").write_text("x")
    code, _, err = concord(f"train recipe.yaml name=mine cluster.storage={place} --no-ray --restart")
    assert code == 2
    assert "it has no run.json; nothing was removed" in err
    assert (place / "mine" / "thesis.txt").exists()


def test_help_and_version(concord: Run) -> None:
    for line in ("--help", "train --help", "data check --help", "predict --help"):
        code, out, _ = concord(line)
        assert code == 0
        assert out.startswith("Usage: ")
    assert concord("--version")[1].startswith("concord ")
    assert concord("nonsense")[0] == 2
