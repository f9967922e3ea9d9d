"""An export on its own: what it predicts is worked out anew with `transformers` and its tensors alone."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer

import multitask
from multitask.config import RunConfig, parse_config
from multitask.errors import UserError
from multitask.export import write_export
from multitask.model import build_model
from tests.builders import build_tiny_bert, tiny_config

SCORES = {"dev/sst/accuracy": 0.6, "dev/sst/macro_f1": 0.51234, "dev/sts/pearson": -0.25, "dev/mean": 0.4321}
TEXTS = ["a superb film .", "dull", "the scene is awful and boring, it is in an actor's script"]
PAIRS = [("cat dog river", "river dog cat"), ("how do i bread?", "a volcano"), ("x", "boat")]


def _config(folder: Path, **changes: Any) -> RunConfig:
    tree = tiny_config(folder, description="three tiny tasks", **changes)
    tree["tasks"]["sts"]["pair_encoding"] = {"name": "bi_encoder", "features": "concat_difference_product"}
    return parse_config(tree, "test")


def _export(folder: Path, config: RunConfig) -> Path:
    arguments: dict[str, Any] = {"scores": SCORES, "step": 12, "data_hashes": {"sst/train": "abc"}, "versions": {}}
    write_export(folder, build_model(config), config, **arguments)
    return folder


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of random weights whose base encoder is no longer there."""
    folder = tmp_path_factory.mktemp("export")
    build_tiny_bert(folder / "encoder", seed=3)
    place = _export(folder / "model", _config(folder))
    shutil.rmtree(folder / "encoder")
    return place


def _vectors(export: Path, first: list[str], second: list[str] | None = None) -> torch.Tensor:
    tokenizer, model = AutoTokenizer.from_pretrained(export), AutoModel.from_pretrained(export).eval()
    found = []
    for row, text in enumerate(first):
        inputs = tokenizer(text, second[row] if second else None, truncation=True, max_length=32, return_tensors="pt")
        with torch.no_grad():
            found.append(model(**inputs).last_hidden_state[0].mean(0))
    return torch.stack(found)


def _head(export: Path, task: str, features: torch.Tensor) -> torch.Tensor:
    heads = load_file(export / "heads.safetensors")
    return functional.linear(features, *(heads[f"heads.{task}.readout.linear.{n}"] for n in ("weight", "bias")))


def test_classes_and_their_probabilities_are_those_of_the_tensors(export: Path) -> None:
    wanted = _head(export, "sst", _vectors(export, TEXTS)).softmax(1)
    model = multitask.load(export, "cpu")
    assert model.predict("sst", TEXTS) == wanted.argmax(1).tolist()
    found = model.predict("sst", TEXTS, probabilities=True)
    assert [list(row) for row in found] == [[0, 1, 2, 3, 4]] * 3
    np.testing.assert_allclose([list(row.values()) for row in found], wanted, atol=1e-6)


def test_classes_have_their_names_where_the_kind_gives_them(tmp_path: Path, export: Path) -> None:
    build_tiny_bert(tmp_path / "encoder", seed=3)
    tree, names = _config(tmp_path).to_dict(), ["awful", "bad", "so", "good", "great"]
    tree["tasks"]["sst"]["kind"]["labels"] = names
    tree["tasks"]["quora"]["kind"]["labels"] = ["no", "yes"]
    named = multitask.load(_export(tmp_path / "model", parse_config(tree, "test")), "cpu")
    plain = multitask.load(export, "cpu")
    assert named.predict("sst", TEXTS) == [names[int(value)] for value in plain.predict("sst", TEXTS)]
    (first, *_), (wanted, *_) = (model.predict("quora", PAIRS, probabilities=True) for model in (named, plain))
    assert first == {"no": wanted[0], "yes": wanted[1]}
    assert named.predict("sts", PAIRS) == plain.predict("sts", PAIRS)


def test_a_task_of_numbers_has_no_probabilities(export: Path) -> None:
    with pytest.raises(UserError, match="sts: a task without classes has no probabilities"):
        multitask.load(export, "cpu").predict("sts", PAIRS, probabilities=True)


def test_cross_encoder_reads_both_texts_in_one_sequence(export: Path) -> None:
    raw = _head(export, "quora", _vectors(export, [a for a, _ in PAIRS], [b for _, b in PAIRS]))[:, 0]
    model = multitask.load(export, "cpu")
    wanted = torch.stack([1 - raw.sigmoid(), raw.sigmoid()], 1)
    found = model.predict("quora", PAIRS, probabilities=True)
    np.testing.assert_allclose([list(row.values()) for row in found], wanted, atol=1e-6)
    assert model.predict("quora", PAIRS) == (raw > 0).long().tolist()


def test_bi_encoder_reads_each_text_alone(export: Path) -> None:
    u, v = _vectors(export, [a for a, _ in PAIRS]), _vectors(export, [b for _, b in PAIRS])
    raw = _head(export, "sts", torch.cat([u, v, (u - v).abs(), u * v], 1))[:, 0]
    found = multitask.load(export, "cpu").predict("sts", PAIRS)
    np.testing.assert_allclose(found, 5 * raw.sigmoid(), atol=1e-5)


def test_vectors_are_pooled_and_long_texts_are_cut(export: Path) -> None:
    texts = [*TEXTS, " ".join(["film"] * 200)]
    found = multitask.load(export, "cpu").embed(texts)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, _vectors(export, texts), atol=1e-5)


def test_many_texts_come_back_in_order(export: Path) -> None:
    model = multitask.load(export, "cpu")
    many = [TEXTS[number % 3] if number % 5 else f"{number}" for number in range(150)]
    together = model.predict("sst", many, probabilities=True)
    for text, found in zip(many, together, strict=True):
        assert model.predict("sst", [text], probabilities=True)[0] == pytest.approx(found, abs=1e-6)
    np.testing.assert_allclose(model.embed(many)[[0, 64, 149]], model.embed([many[0], many[64], many[149]]), atol=1e-6)


def test_nothing_in_nothing_out(export: Path) -> None:
    model = multitask.load(export, "cpu")
    assert model.predict("sts", []) == []
    assert model.predict("sst", [], probabilities=True) == []
    assert model.embed([]).shape == (0, 32)


@pytest.mark.parametrize(
    ("task", "texts"),
    [
        ("sst", "a single string"),
        ("sst", [("a", "pair")]),
        ("sst", [None]),
        ("quora", ["one"]),
        ("quora", [("a", "b", "c")]),
        ("quora", [("a", 5)]),
        ("quora", [5]),
        ("quora", ("a", "b")),
    ],
)
def test_texts_of_another_shape_are_refused(export: Path, task: str, texts: Any) -> None:
    model = multitask.load(export, "cpu")
    with pytest.raises(UserError, match=task):
        model.predict(task, texts)


def test_description_card_and_config_tell_where_it_comes_from(export: Path) -> None:
    model = multitask.load(export, "cpu")
    told = json.loads((export / "concord.json").read_text())
    assert model.scores == told["scores"] == SCORES
    assert told["step"] == 12
    assert told["tasks"]["sts"]["metric"] == "pearson"
    assert told["config_hash"] == model.config.trajectory_hash()
    card = (export / "README.md").read_text()
    # macro_f1 is rounded; a score that was not measured leaves its cell empty.
    assert "| sst | classification | single texts | 0.6000 | 0.5123 |  |" in card
    assert "| sts | regression | bi_encoder |  |  | -0.2500 |" in card
    assert "| quora | binary | cross_encoder |  |  |  |" in card
    assert "step 12, mean 0.4321" in card
    assert "three tiny tasks" in card
    assert "abc" in card


def test_no_file_needs_pickle(export: Path) -> None:
    assert {path.suffix for path in export.iterdir()} == {".json", ".md", ".safetensors"}


def test_export_of_an_older_version_is_read_under_the_new_names(export: Path, tmp_path: Path) -> None:
    shutil.copytree(export, tmp_path / "model")
    description = tmp_path / "model" / "concord.json"
    old = description.read_text().replace("rows_per_pass", "rows_per_epoch")
    assert old != description.read_text()
    description.write_text(old)
    found, wanted = multitask.load(tmp_path / "model"), multitask.load(export)
    assert found.config == wanted.config
    assert found.predict("sst", TEXTS) == wanted.predict("sst", TEXTS)


def test_later_export_replaces_the_earlier_whole(export: Path, tmp_path: Path) -> None:
    build_tiny_bert(tmp_path / "encoder")
    old = _export(tmp_path / "model", _config(tmp_path))
    (old / "left.txt").write_text("from before")
    _export(tmp_path / "model", _config(tmp_path, seed=9))
    assert multitask.load(old, "cpu").config.seed == 9
    assert not (old / "left.txt").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["encoder", "model"]


def test_failed_export_leaves_the_earlier_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_tiny_bert(tmp_path / "encoder")
    old = _export(tmp_path / "model", _config(tmp_path))

    def full(*_: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr("multitask.export.writer.save_file", full)
    with pytest.raises(OSError, match="no space"):
        _export(tmp_path / "model", _config(tmp_path, seed=9))
    assert multitask.load(old, "cpu").config.seed == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["encoder", "model"]


def test_file_in_the_exports_place_is_refused(tmp_path: Path) -> None:
    build_tiny_bert(tmp_path / "encoder")
    (tmp_path / "model").write_text("precious")
    with pytest.raises(UserError, match="model"):
        _export(tmp_path / "model", _config(tmp_path))
    assert (tmp_path / "model").read_text() == "precious"


@pytest.mark.parametrize("file", ["heads.safetensors", "model.safetensors"])
@pytest.mark.parametrize("how", ["altered", "missing", "cut"])
def test_damaged_tensors_are_told_by_file(export: Path, tmp_path: Path, file: str, how: str) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(export, folder)
    data = (folder / file).read_bytes()
    if how == "missing":
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(data[:-1] + bytes([data[-1] ^ 1]) if how == "altered" else data[:-9])
    with pytest.raises(UserError, match=rf"{file} {'is missing' if how == 'missing' else 'differs from its checksum'}"):
        multitask.load(folder, "cpu")


@pytest.mark.parametrize(
    ("description", "told"),
    [
        ("[]", "cannot be read"),
        ("{", "cannot be read"),
        ("{}", "format None, this version reads 2"),
        ('{"format": 1}', "format 1, this version reads 2"),
        ('{"format": 2}', "checksums of .* are missing"),
        ('{"format": 2, "sha256": {"model.safetensors": "0"}}', "checksums of .* are missing"),
    ],
)
def test_description_that_is_none_is_refused(tmp_path: Path, description: str, told: str) -> None:
    (tmp_path / "concord.json").write_text(description)
    with pytest.raises(UserError, match=f"concord.json.*{told}"):
        multitask.load(tmp_path)


def test_folder_without_an_export_is_refused(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "absent"):
        with pytest.raises(UserError, match=r"is no export: it has no concord.json"):
            multitask.load(place)


@pytest.mark.parametrize("precision", ["bf16", "autocast", "fp16"])
def test_model_of_low_precision_predicts_near_the_fp32_one(tmp_path: Path, precision: str) -> None:
    build_tiny_bert(tmp_path / "encoder")
    low = multitask.load(_export(tmp_path / "low", _config(tmp_path, precision=precision)), "cpu")
    full = multitask.load(_export(tmp_path / "full", _config(tmp_path)), "cpu")
    one, two = np.array(low.predict("sts", PAIRS)), np.array(full.predict("sts", PAIRS))
    np.testing.assert_allclose(one, two, atol=0.05)
    assert not np.array_equal(one, two)
    assert load_file(tmp_path / "low" / "model.safetensors")["embeddings.word_embeddings.weight"].dtype == torch.float32
