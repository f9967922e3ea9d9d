"""A user's way: train, export, evaluate, predict; and each mistake as one line with exit code 2.

Training, one prediction and one mistake are processes of their own, as a user's are; the other commands run in this one.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
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
from tests.integration.commands import environment, result, run_concord, write_recipe

Concord = Callable[..., Any]


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


@pytest.fixture
def refused(concord: Concord) -> Callable[..., str]:
    """Runs a command that must be refused; gives the one line that it says."""

    def run(*arguments: str, stdin: str = "") -> str:
        ended = concord(*arguments, stdin=stdin)
        assert ended.code == 2, ended.err
        assert len(ended.err.strip().splitlines()) == 1, ended.err
        return ended.err.strip()

    return run


def test_export_scores_what_training_reported(folder: Path, export: Path, concord: Concord) -> None:
    for model in (str(export), str(folder / "runs" / "run")):
        done = concord("evaluate", model, "--json")
        assert done.code == 0, done.err
        scores = json.loads(done.out)["scores"]
        best = result(folder / "runs" / "run")["history"][-1]
        for task, own in scores.items():
            for metric, value in own.items():
                assert value == pytest.approx(best[f"dev/{task}/{metric}"], abs=1e-6)
    table = concord("evaluate", str(export), "--task", "sts").out
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
        chances = model.predict("quora", [("cat", "dog")], probabilities=True)
        assert sum(chances[0].values()) == pytest.approx(1)
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


@pytest.mark.parametrize("precision", ["fp32", "bf16", "autocast", "fp16"])
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
    monkeypatch.setattr("multitask.export.writer.model_card", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write_export(tmp_path / "half", model, config, **arguments)
    assert [p.name for p in tmp_path.iterdir() if "half" in p.name] == []


def test_predict_takes_texts_files_and_lines(export: Path, tmp_path: Path, concord: Concord) -> None:
    two = json.loads(concord("predict", str(export), "quora", "cat dog", "dog cat", "a", "b", "--json").out)
    assert len(two["predictions"]) == 2
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("cat dog\tdog cat\na\tb\n")
    from_file = json.loads(concord("predict", str(export), "quora", str(pairs), "--json").out)
    assert from_file["predictions"] == two["predictions"]
    done = run_concord("predict", str(export), "sst", "-", stdin="superb\n\ndull\n")
    assert [line.split("\t")[1] for line in done.stdout.splitlines()] == ["superb", "dull"]
    lines = tmp_path / "lines.txt"
    texts = ["one\u2028line", "an\x85other", "a\x0cthird"]
    lines.write_bytes("\ufeff{}\r\n{}\r{}\n".format(*texts).encode())
    assert json.loads(concord("predict", str(export), "sst", str(lines), "--json").out)["texts"] == texts


def test_same_command_again_goes_on_and_does_nothing_more(folder: Path, export: Path, concord: Concord) -> None:
    before = (folder / "runs" / "run" / "checkpoints").stat().st_mtime_ns
    done = concord("train", str(folder / "recipe.yaml"), "--no-ray", "--json")
    assert done.code == 0, done.err
    events = [json.loads(line) for line in done.out.splitlines()]
    assert events[0]["event"] == "start"
    assert events[0]["resumed_step"] == 40
    assert events[-1]["status"] == "finished"
    assert (folder / "runs" / "run" / "checkpoints").stat().st_mtime_ns == before


def test_diagnosis_may_begin_from_a_run(folder: Path, concord: Concord, refused: Callable[..., str]) -> None:
    run, recipe = str(folder / "runs" / "run"), str(folder / "recipe.yaml")
    short = ["--steps", "4", "--every", "1", "--after", "2", "--json"]
    done = concord("diagnose", recipe, "combination.name=sum", "--from", run, *short)
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert (told["steps"], told["after"], told["looks"]) == (6, 2, 4)
    assert told["start"] == f"{run} after 40 steps"
    assert all(pair["sign"] in (-1, 0, 1) and len(pair["rows"]) == 2 for pair in told["pairs"])
    assert "differ in" in refused("diagnose", recipe, "encoder.pooling=attention", "--from", run)
    assert str(folder) in refused("diagnose", recipe, "--from", str(folder))


def test_dry_run_tells_programs_the_plan_and_trains_nothing(folder: Path, concord: Concord) -> None:
    done = concord("train", str(folder / "recipe.yaml"), "--dry-run", "name=dry", "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["plan"]["steps"] == 40
    assert told["plan"]["tasks"]["sts"]["train_rows"] == 50
    assert parse_config(told["config"], "test").name == "dry"
    assert not (folder / "runs" / "dry").exists()


def test_restart_starts_over(folder: Path, concord: Concord, refused: Callable[..., str]) -> None:
    short = ["train", str(folder / "recipe.yaml"), "--no-ray", "name=short", "phases.0.epochs=1"]
    assert concord(*short).code == 0
    assert "differs in seed" in refused(*short, "seed=8")
    assert concord(*short, "seed=8", "--restart").code == 0
    assert result(folder / "runs" / "short")["resumed_step"] == 0


def test_mistakes_are_one_line_each(folder: Path, export: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    recipe, here = str(folder / "recipe.yaml"), ["--no-ray", "name=mistaken"]
    assert "absent.csv" in refused("train", recipe, *here, "tasks.sst.files.dev=[absent.csv]")
    assert "encoder.name" in refused("train", recipe, *here, f"encoder.name={tmp_path}")
    assert "neither an export" in refused("predict", str(tmp_path), "sts", "a", "b")
    assert "--checkpoint must be" in refused("export", str(folder / "runs" / "run"), "--checkpoint", "7")
    assert "is no run folder" in refused("export", str(tmp_path))
    broken = shutil.copytree(export, tmp_path / "broken")
    data = bytearray((broken / "heads.safetensors").read_bytes())
    data[-1] ^= 1
    (broken / "heads.safetensors").write_bytes(data)
    assert "heads.safetensors differs from its checksum" in refused("predict", str(broken), "sst", "text")


def test_a_mistake_ends_the_process_with_one_line_and_exit_code_2(folder: Path) -> None:
    done = run_concord("train", str(folder / "recipe.yaml"), "optimizer.lrr=1", "--json")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "did you mean 'lr'?" in done.stderr
    assert "unknown key" in json.loads(done.stdout)["error"]


def test_help_and_version_answer_without_heavy_imports() -> None:
    code = "import sys; sys.argv = ['concord', '--help']\n"
    code += "from cluster.cli import main\n"
    code += "try: main()\n"
    code += "except SystemExit: assert not {'torch', 'ray', 'transformers', 'deepspeed'} & set(sys.modules)\n"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert "train" in done.stdout
