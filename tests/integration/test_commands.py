"""A user's way: train, export, evaluate, predict; and each mistake as one line with exit code 2."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel

import multitask
from multitask.config import parse_config
from multitask.errors import UserError
from multitask.export import write_export
from multitask.model import build_model
from tests.builders import build_tiny_bert, tiny_config, write_tiny_tasks
from tests.integration.commands import CONCORD, environment, result, run_concord, write_recipe


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recipe, data, and a trained run; the base encoder has gone by then."""
    path = tmp_path_factory.mktemp("commands")
    write_tiny_tasks(path)
    build_tiny_bert(path / "encoder")
    tree = tiny_config(path, name="run", training={"evaluate_before": True}, phases=[{"epochs": 4}])
    tree["tasks"]["sst"]["files"]["test"] = ["sst-dev.csv"]
    write_recipe(path / "recipe.yaml", tree)
    done = run_concord("train", str(path / "recipe.yaml"), "--no-ray")
    assert done.returncode == 0, done.stderr
    assert "dev scores at step 40" in done.stdout
    return path


@pytest.fixture(scope="module")
def export(folder: Path) -> Path:
    shutil.copytree(folder / "runs" / "run" / "export", folder / "model")
    return folder / "model"


def _refused(*arguments: str, stdin: str | None = None) -> str:
    done = subprocess.run(
        [*CONCORD, *arguments], capture_output=True, text=True, env=environment(), input=stdin, timeout=120
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_export_scores_what_training_reported(folder: Path, export: Path) -> None:
    for model in (str(export), str(folder / "runs" / "run")):
        done = run_concord("evaluate", model, "--json")
        assert done.returncode == 0, done.stderr
        scores = json.loads(done.stdout)["scores"]
        best = result(folder / "runs" / "run")["history"][-1]
        for task, own in scores.items():
            for metric, value in own.items():
                assert value == pytest.approx(best[f"dev/{task}/{metric}"], abs=1e-6)
    table = run_concord("evaluate", str(export), "--task", "sts").stdout
    assert "pearson" in table
    assert "in training" in table


def test_export_loads_anywhere_without_its_base_encoder(folder: Path, export: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(export, moved)
    (folder / "encoder").rename(folder / "gone")
    try:
        model = multitask.load(moved, "cpu")
        assert all(isinstance(p, int) for p in model.predict("sst", ["a dull film", "superb"]))
        values = model.predict("sts", [("cat dog", "cat dog"), ("cat", "engine")])
        assert all(isinstance(v, float) and 0 <= v <= 5 for v in values)
        chances = model.probabilities("quora", [("cat", "dog")])
        assert chances is not None
        assert sum(chances[0]) == pytest.approx(1)
        assert model.probabilities("sts", [("cat", "dog")]) is None
        assert model.embed(["a film", "b"]).shape == (2, 32)
        encoder = AutoModel.from_pretrained(moved)
        own = model.model.encoder.model.state_dict()
        assert all(torch.equal(own[name], value) for name, value in encoder.state_dict().items())
        with pytest.raises(UserError, match="no task 'foo'; tasks: sst, quora, sts"):
            model.predict("foo", ["a"])
        with pytest.raises(UserError, match="text 1 must be a pair of strings, got 'b'"):
            model.predict("quora", [("a", "b"), "b"])
    finally:
        (folder / "gone").rename(folder / "encoder")


@pytest.mark.parametrize("file", ["heads.safetensors", "model.safetensors"])
def test_altered_export_is_refused(export: Path, tmp_path: Path, file: str) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(export, broken)
    data = bytearray((broken / file).read_bytes())
    data[-1] ^= 1
    (broken / file).write_bytes(data)
    assert f"{file} differs from its checksum" in _refused("predict", str(broken), "sst", "text")


@pytest.mark.parametrize("precision", ["fp32", "bf16", "autocast"])
def test_export_predicts_what_the_model_in_memory_does(
    tiny_tasks: dict[str, Any], tmp_path: Path, precision: str
) -> None:
    from multitask.data import prepare_tables
    from multitask.evaluation import evaluate

    config = parse_config(tiny_tasks | {"precision": precision}, "test")
    model, tables = build_model(config).eval(), prepare_tables(config)
    write_export(tmp_path / "e", model, config, scores={}, step=1, data_hashes={}, versions={})
    model.to(torch.bfloat16 if precision == "bf16" else torch.float32)
    predictor = multitask.load(tmp_path / "e", "cpu")
    for task, table in tables.dev.items():
        wanted = evaluate(model, task, table, tables.pad_id, torch.device("cpu"), config.precision)
        _, found = predictor.evaluate(task, "dev", config)
        assert (found.predictions == wanted.predictions).all()
    card = (tmp_path / "e" / "README.md").read_text()
    assert "multitask.load" in card


def test_half_an_export_is_never_seen_and_a_foreign_folder_not_touched(
    tiny_tasks: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = parse_config(tiny_tasks, "test")
    model = build_model(config)
    arguments: dict[str, Any] = {"scores": {}, "step": 1, "data_hashes": {}, "versions": {}}
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "precious").write_text("x")
    with pytest.raises(UserError, match="holds no export"):
        write_export(foreign, model, config, **arguments)
    monkeypatch.setattr("multitask.export.writer.model_card", lambda _: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write_export(tmp_path / "half", model, config, **arguments)
    assert [p.name for p in tmp_path.iterdir() if "half" in p.name] == []


def test_predict_takes_texts_files_and_lines(export: Path, tmp_path: Path) -> None:
    two = json.loads(run_concord("predict", str(export), "quora", "cat dog", "dog cat", "a", "b", "--json").stdout)
    assert len(two["predictions"]) == 2
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("cat dog\tdog cat\na\tb\n")
    from_file = json.loads(run_concord("predict", str(export), "quora", str(pairs), "--json").stdout)
    assert from_file["predictions"] == two["predictions"]
    done = subprocess.run(
        [*CONCORD, "predict", str(export), "sst", "-"],
        input="superb\n\ndull\n",
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert [line.split("\t")[1] for line in done.stdout.splitlines()] == ["superb", "dull"]
    assert _refused("predict", str(export), "quora", "-", stdin="only one\n").endswith("a tab between, got 1")


def test_submission_file_is_laid_out_as_the_course_wants(export: Path, tmp_path: Path) -> None:
    out = tmp_path / "sst-test-output.csv"
    done = run_concord("predict", str(export), "sst", "--split", "test", "--submission", "--output", str(out))
    assert done.returncode == 0, done.stderr
    lines = out.read_text().splitlines()
    assert lines[0] == "id \t Predicted_Sentiment "
    assert len(lines) == 21
    identity, value, _ = lines[1].split(" , ")[0], *lines[1].split(" , ")[1].split(" ")
    assert identity == "sst-dev-0"
    assert value in "01234"


def test_same_command_again_goes_on_and_does_nothing_more(folder: Path, export: Path) -> None:
    before = (folder / "runs" / "run" / "checkpoints").stat().st_mtime_ns
    done = run_concord("train", str(folder / "recipe.yaml"), "--no-ray", "--json")
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[0]["event"] == "start"
    assert events[0]["resumed_step"] == 40
    assert events[-1]["status"] == "finished"
    assert (folder / "runs" / "run" / "checkpoints").stat().st_mtime_ns == before


def test_dry_run_plans_and_trains_nothing(folder: Path) -> None:
    recipe = str(folder / "recipe.yaml")
    done = run_concord("train", recipe, "--dry-run", "name=dry", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["plan"]["steps"] == 40
    assert told["plan"]["tasks"]["sts"]["train_rows"] == 50
    assert parse_config(told["config"], "test").name == "dry"
    assert not (folder / "runs" / "dry").exists()
    told = run_concord("train", recipe, "--dry-run").stdout
    assert "steps        40\n" in told
    assert "phase 0      4 epochs of round_robin" in told


def test_data_check_shows_every_split(folder: Path) -> None:
    done = run_concord("data", "check", str(folder / "recipe.yaml"), "--json")
    splits = json.loads(done.stdout)["splits"]
    assert {(s["task"], s["split"], s["rows"]) for s in splits} >= {("sst", "train", 60), ("sts", "dev", 20)}
    assert "quora" in run_concord("data", "check", str(folder / "recipe.yaml")).stdout


def test_restart_starts_over_but_removes_only_runs(folder: Path) -> None:
    recipe = str(folder / "recipe.yaml")
    (folder / "runs" / "papers").mkdir(exist_ok=True)
    (folder / "runs" / "papers" / "thesis.txt").write_text("x")
    assert "is no run folder" in _refused("train", recipe, "--no-ray", "name=papers", "--restart")
    assert (folder / "runs" / "papers" / "thesis.txt").exists()
    short = ["--no-ray", "name=short", "phases.0.epochs=1"]
    assert run_concord("train", recipe, *short).returncode == 0
    assert "differs in seed" in _refused("train", recipe, *short, "seed=8")
    assert run_concord("train", recipe, *short, "seed=8", "--restart").returncode == 0


def test_mistakes_are_one_line_each(folder: Path, export: Path, tmp_path: Path) -> None:
    recipe = str(folder / "recipe.yaml")
    assert "no recipe 'mian'" in _refused("train", "mian")
    assert "did you mean 'lr'?" in _refused("train", recipe, "optimizer.lrr=1")
    assert "absent.csv" in _refused("train", recipe, "--no-ray", "name=a", "tasks.sst.files.dev=[absent.csv]")
    assert "encoder.name" in _refused("train", recipe, "--no-ray", "name=b", f"encoder.name={tmp_path}")
    bad = tmp_path / "bad.csv"
    bad.write_text("\tid\tsentence\tsentiment\n0\tx1\tfine\t1\n1\tx2\tfine too\t7\n")
    told = _bad_row(recipe, bad)
    assert "bad.csv:3: " in told
    assert "no task 'foo'" in _refused("predict", str(export), "foo", "text")
    assert "give an even number" in _refused("predict", str(export), "sts", "one")
    assert "neither an export" in _refused("predict", str(tmp_path), "sts", "a", "b")
    assert "no task has files" in _refused("evaluate", str(export), "--split", "test", "--task", "sts")
    assert "--checkpoint must be" in _refused("export", str(folder / "runs" / "run"), "--checkpoint", "7")
    assert "is no run folder" in _refused("export", str(tmp_path))
    wrong = run_concord("train", recipe, "optimizer.lrr=1", "--json")
    assert "unknown key" in json.loads(wrong.stdout)["error"]


def _bad_row(recipe: str, file: Path) -> str:
    done = run_concord("data", "check", recipe, f"tasks.sst.files.dev=[{file}]")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    return done.stderr


def test_help_and_version_answer_without_heavy_imports() -> None:
    code = "import sys, cluster.cli; assert not {'torch', 'ray', 'transformers', 'deepspeed'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=environment()).returncode == 0
    assert "train" in run_concord("--help").stdout
