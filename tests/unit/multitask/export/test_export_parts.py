"""Whatever a model is made of predicts after an export what it predicted before."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, BertModel

import multitask
from multitask.config import RunConfig, parse_config
from multitask.data import Batch, encode_texts, load_tokenizer, pairing_of
from multitask.errors import UserError
from multitask.export import write_export
from multitask.model import MultitaskModel, build_model
from multitask.model.pooling import POOLINGS
from tests.builders import build_tiny_bert, tiny_config

TEXTS = ["a superb film .", "dull", "the scene is awful and boring, it is in an actor's script"]
PAIRS = [("cat dog river", "river dog cat"), ("how do i bread?", "a volcano"), ("x", "boat")]
LORA = {"name": "lora", "rank": 3, "targets": ["query", "output.dense"]}
PROJECTED = {"name": "projected_attention", "width": 8, "heads": 2}
CONTRASTIVE = {
    "kind": {"name": "contrastive", "projection": "mlp"},
    "columns": {"text": "sentence"},
    "files": {"train": ["sst-train.csv"]},
    "format": "cs224n",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the base encoder in `encoder`."""
    place = tmp_path_factory.mktemp("parts")
    build_tiny_bert(place / "encoder", seed=3)
    return place


def _config(folder: Path, *, encoder: dict[str, Any] | None = None, **changes: Any) -> RunConfig:
    shape = {"name": str(folder / "encoder"), "dropout": 0.1, **(encoder or {})}
    return parse_config(tiny_config(folder, encoder=shape, **changes), "test")


def _trained(config: RunConfig) -> MultitaskModel:
    """A model whose trained parameters are no longer those that it starts with."""
    model, generator = build_model(config), torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model.eval()


def _export(model: MultitaskModel, config: RunConfig, place: Path) -> multitask.export.Predictor:
    write_export(place, model, config, scores={}, step=1, data_hashes={}, versions={})
    return multitask.load(place, "cpu")


def _batch(config: RunConfig, task: str) -> tuple[list[Any], Batch]:
    texts: list[Any] = PAIRS if config.tasks[task].is_pair else TEXTS
    rows = [text if isinstance(text, tuple) else (text, None) for text in texts]
    tokenizer = load_tokenizer(config.encoder.name)
    return texts, encode_texts(tokenizer, rows, pairing_of(config.tasks[task]), config.data.max_length)


def _check(model: MultitaskModel, predictor: multitask.export.Predictor, config: RunConfig) -> None:
    for task in predictor.tasks:
        texts, batch = _batch(config, task)
        with torch.no_grad():
            raw = model(task, batch)
        head = model.head(task)
        np.testing.assert_allclose(predictor.predict(task, texts), head.predict(raw), atol=1e-5)
        wanted = head.probabilities(raw)
        if wanted is not None:
            chances = [list(own.values()) for own in predictor.predict(task, texts, probabilities=True)]
            np.testing.assert_allclose(chances, wanted, atol=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_pooling_is_carried(folder: Path, tmp_path: Path, pooling: str) -> None:
    config = _config(folder, encoder={"pooling": pooling})
    model = _trained(config)
    predictor = _export(model, config, tmp_path / "export")
    _check(model, predictor, config)
    _, batch = _batch(config, "sst")
    np.testing.assert_allclose(predictor.embed(TEXTS), model.embed(None, batch).detach(), atol=1e-5)


@pytest.mark.parametrize(
    ("features", "head"),
    [
        ("concat", {"name": "mlp", "hidden": 6, "activation": "gelu"}),
        ("concat_difference_product", {"name": "mlp", "link": "identity"}),
        ("concat", {"name": "linear", "link": "identity"}),
        ("cosine", {"name": "linear", "link": "identity"}),
        ("pearson", {"name": "linear"}),
        ("pearson", {"name": "scaled", "scale": "sigmoid"}),
        ("cosine", {"name": "scaled", "scale": "relu"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(map(str, value.values())),
)
def test_head_is_carried(folder: Path, tmp_path: Path, features: str, head: dict[str, Any]) -> None:
    own = {"pair_encoding": {"name": "bi_encoder", "features": features}, "head": head}
    config = _config(folder, tasks={"sts": own})
    model = _trained(config)
    _check(model, _export(model, config, tmp_path / "export"), config)


def test_several_classes_a_row_are_lists(folder: Path, tmp_path: Path) -> None:
    kind = {"name": "multi_label", "classes": 5, "labels": list("abcde")}
    config = _config(folder, tasks={"sst": {"kind": kind}})
    model = _trained(config)
    predictor = _export(model, config, tmp_path / "export")
    texts, batch = _batch(config, "sst")
    with torch.no_grad():
        yes = model(task="sst", batch=batch).sigmoid()
    assert predictor.predict("sst", texts) == [
        [n for n, own in zip("abcde", row, strict=True) if own > 0.5] for row in yes
    ]
    chances = [list(own.values()) for own in predictor.predict("sst", texts, probabilities=True)]
    np.testing.assert_allclose(chances, yes, atol=1e-5)


@pytest.mark.parametrize("loss", ["corn", "cumulative_link", "angle"])
def test_heads_with_a_loss_of_their_own_are_carried(folder: Path, tmp_path: Path, loss: str) -> None:
    sts = {"pair_encoding": {"name": "bi_encoder", "features": "cosine"}, "head": {"name": "scaled"}}
    tasks: dict[str, Any] = {"sst": {"kind": {"ordered": True}}, "sts": sts}
    tasks["sts" if loss == "angle" else "sst"]["loss"] = {"name": loss}
    config = _config(folder, tasks=tasks)
    model = _trained(config)
    _check(model, _export(model, config, tmp_path / "export"), config)


def test_token_types_stay_left_out(folder: Path, tmp_path: Path) -> None:
    config = _config(folder, encoder={"token_types": False})
    model = _trained(config)
    _check(model, _export(model, config, tmp_path / "export"), config)


def test_low_rank_updates_are_merged_into_a_plain_encoder(folder: Path, tmp_path: Path) -> None:
    config = _config(folder, encoder={"adapter": LORA})
    model = _trained(config)
    predictor = _export(model, config, tmp_path / "export")
    _check(model, predictor, config)
    assert predictor.config == config
    assert not any("lora" in name for name in load_file(tmp_path / "export" / "model.safetensors"))
    alone, told = AutoModel.from_pretrained(tmp_path / "export", output_loading_info=True)
    assert isinstance(alone, BertModel)
    assert not told["missing_keys"]
    assert not told["unexpected_keys"]
    _, batch = _batch(config, "sst")
    hidden = alone.eval()(input_ids=batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state
    mask = batch.attention_mask.unsqueeze(-1)
    mean = ((hidden * mask).sum(1) / mask.sum(1)).detach()
    np.testing.assert_allclose(mean, model.embed(None, batch).detach(), atol=1e-5)
    np.testing.assert_allclose(predictor.embed(TEXTS), mean, atol=1e-5)
    base = BertModel.from_pretrained(folder / "encoder").eval()
    apart = base(input_ids=batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state
    assert not torch.allclose(apart, hidden, atol=0.01)
    assert "merged" in (tmp_path / "export" / "README.md").read_text()


def test_projected_attention_is_carried_for_each_task(folder: Path, tmp_path: Path) -> None:
    config = _config(folder, encoder={"adapter": PROJECTED})
    model = _trained(config)
    predictor = _export(model, config, tmp_path / "export")
    _check(model, predictor, config)
    _, batch = _batch(config, "sst")
    vectors = {task: predictor.embed(TEXTS, task) for task in ("sst", "sts", None)}
    for task, found in vectors.items():
        np.testing.assert_allclose(found, model.embed(task, batch).detach(), atol=1e-5)
    assert not np.allclose(vectors["sst"], vectors["sts"], atol=0.01)
    with pytest.raises(UserError, match="no task 'nothing'"):
        predictor.embed(TEXTS, "nothing")


@pytest.mark.parametrize("adapter", [{"name": "none"}, PROJECTED], ids=lambda adapter: adapter["name"])
def test_contrastive_task_leaves_its_description_alone(folder: Path, tmp_path: Path, adapter: dict[str, Any]) -> None:
    # First in the config, so that nothing may take the first task for one that predicts.
    tasks = {"texts": CONTRASTIVE, **tiny_config(folder)["tasks"]}
    tree = tiny_config(folder, encoder={"adapter": adapter, "dropout": 0.1}) | {"tasks": tasks}
    config = parse_config(tree, "test")
    model = _trained(config)
    predictor = _export(model, config, tmp_path / "export")
    _check(model, predictor, config)
    assert predictor.tasks == ("sst", "quora", "sts")
    assert not any(".texts." in name for name in load_file(tmp_path / "export" / "heads.safetensors"))
    told = json.loads((tmp_path / "export" / "concord.json").read_text())["tasks"]["texts"]
    assert (told["kind"]["name"], told["metric"]) == ("contrastive", None)
    card = (tmp_path / "export" / "README.md").read_text()
    assert "| texts | contrastive | single texts |" in card
    assert 'model.predict("sst", ["a text"])' in card


def test_tensors_of_another_config_are_told(folder: Path, tmp_path: Path) -> None:
    config = _config(folder, encoder={"pooling": "attention"})
    _export(_trained(config), config, tmp_path / "export")
    path = tmp_path / "export" / "concord.json"
    description = json.loads(path.read_text())
    description["config"]["encoder"]["pooling"] = "mean"
    path.write_text(json.dumps(description))
    with pytest.raises(UserError, match=r"heads.safetensors does not belong to the config .* in encoder.pool.query"):
        multitask.load(tmp_path / "export")
