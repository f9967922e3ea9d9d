"""Encoders whose files do not fit each other, or not the config, are refused in one line; rows of the embedding can be added."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2Model,
    LlamaConfig,
    LlamaModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

import multitask
from multitask.config import parse_config
from multitask.data import encode_texts, load_tokenizer
from multitask.errors import UserError
from multitask.model import build_model
from tests.builders import build_tiny_bert, merge, save_random, tiny_config, write_tiny_tasks

_SIZE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def _change(folder: Path, **values: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def _tree(folder: Path, **changes: Any) -> dict[str, Any]:
    write_tiny_tasks(folder, rows=12, dev_rows=4)
    return merge(tiny_config(folder), changes)


def _refusal(tree: dict[str, Any]) -> str:
    with pytest.raises(UserError) as error:
        build_model(parse_config(tree, "test"))
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"intermediate_size": 48}, "encoder.layer.0.intermediate.dense.bias is (64,), config.json wants (48,)"),
        ({"vocab_size": 400}, "config.json wants (400, 32)"),
        ({"num_hidden_layers": 1}, "config.json has 1 layers, the weights have encoder.layer.1."),
    ],
)
def test_config_and_weights_that_disagree(
    values: dict[str, Any], told: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _change(build_tiny_bert(tmp_path / "encoder"), **values)
    found = _refusal(_tree(tmp_path))
    assert found.startswith("encoder.name: ")
    assert "config.json and the weights disagree: " in found
    assert told in found
    assert caplog.records == []


@pytest.mark.parametrize(
    "values",
    [
        {"num_hidden_layers": 3},
        {"hidden_size": "wide"},
        {"num_attention_heads": 5},
        {"hidden_act": "no such"},
        {"model_type": "no such"},
    ],
)
def test_config_that_makes_no_encoder(values: dict[str, Any], tmp_path: Path) -> None:
    _change(build_tiny_bert(tmp_path / "encoder"), **values)
    assert _refusal(_tree(tmp_path)).startswith("encoder.name: ")


def test_torn_weights(tmp_path: Path) -> None:
    weights = build_tiny_bert(tmp_path / "encoder") / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert _refusal(_tree(tmp_path)).startswith("encoder.name: cannot load an encoder from ")


def test_weights_that_are_not_finite(tmp_path: Path) -> None:
    weights = build_tiny_bert(tmp_path / "encoder") / "model.safetensors"
    tensors = load_file(weights)
    tensors["encoder.layer.1.output.dense.bias"][3] = float("nan")
    save_file(tensors, weights, {"format": "pt"})
    assert _refusal(_tree(tmp_path)) == "encoder.name: the states that its weights give are not finite"


def test_positions_bind_a_fixed_length_too(tmp_path: Path) -> None:
    build_tiny_bert(tmp_path / "encoder")
    build_model(parse_config(_tree(tmp_path, encoder={"padding": "max_length"}, data={"max_length": 64}), "test"))
    found = _refusal(_tree(tmp_path, encoder={"padding": "max_length"}, data={"max_length": 65}))
    assert found.endswith("takes at most 64 tokens, got 65")


def _more_tokens(folder: Path, words: list[str]) -> tuple[int, int]:
    """Add words to the tokenizer in `folder` alone; the tokens that it had, and has."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    before = len(tokenizer)
    tokenizer.add_tokens(words)
    tokenizer.save_pretrained(folder)
    return before, before + len(words)


def test_tokenizer_with_more_tokens_than_the_embedding_has_rows(tmp_path: Path) -> None:
    encoder = build_tiny_bert(tmp_path / "encoder")
    before, after = _more_tokens(encoder, ["zyzzyva", "qoph"])
    found = _refusal(_tree(tmp_path))
    assert f"has {after} tokens, the encoder's embedding {before} rows; encoder.resize_embeddings=true adds" in found


def test_rows_that_are_added_are_trained_exported_and_loaded_back(tmp_path: Path) -> None:
    encoder = build_tiny_bert(tmp_path / "encoder")
    before, after = _more_tokens(encoder, ["zyzzyva", "qoph"])
    tree = _tree(tmp_path, encoder={"resize_embeddings": True})
    tree["phases"] = [{"sampling": {"name": "round_robin"}, "steps_per_epoch": 2}]
    one, two = (build_model(parse_config(tree, "test")) for _ in range(2))
    old = BertModel.from_pretrained(encoder).get_input_embeddings().weight
    new = one.encoder.words.weight
    assert new.shape == (after, 32)
    assert torch.equal(new[:before], old)
    assert torch.equal(new, two.encoder.words.weight)
    torch.testing.assert_close(new[before], old.mean(0), atol=0.05, rtol=0)
    export = multitask.train(tree, progress=False, device="cpu").export(tmp_path / "export")
    assert BertModel.from_pretrained(export).get_input_embeddings().weight.shape == (after, 32)
    model = multitask.load(export, "cpu")
    assert not (model.embed(["a zyzzyva"]) == model.embed(["a film"])).all()


def _gpt2(positions: int) -> PreTrainedModel:
    return GPT2Model(GPT2Config(vocab_size=60, n_embd=16, n_layer=2, n_head=2, n_positions=positions))


POSITIONS: dict[str, tuple[Callable[[], PreTrainedModel], int | None]] = {
    "a table wpe": (lambda: _gpt2(20), 20),
    "a table position_embeddings": (lambda: BertModel(BertConfig(vocab_size=60, max_position_embeddings=20, **_SIZE)), 20),
    "turned queries and keys": (lambda: LlamaModel(LlamaConfig(vocab_size=60, max_position_embeddings=20, **_SIZE)), None),
    "relative positions": (
        lambda: T5EncoderModel(T5Config(vocab_size=60, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2)),
        None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", POSITIONS)
def test_longest_sequence_is_told_by_the_tables_of_any_name(kind: str, tmp_path: Path) -> None:
    build, longest = POSITIONS[kind]
    save_random(build, tmp_path / "encoder")
    build_model(parse_config(_tree(tmp_path, data={"max_length": 20}), "test"))
    longer = _tree(tmp_path, data={"max_length": 21})
    if longest is None:
        build_model(parse_config(longer, "test"))
    else:
        assert _refusal(longer).startswith("data.max_length: ")
        assert _refusal(longer).endswith(f"takes at most {longest} tokens, got 21")


def test_tokenizer_without_a_padding_token_pads_with_its_end(tmp_path: Path) -> None:
    build_tiny_bert(tmp_path / "encoder")
    backend = AutoTokenizer.from_pretrained(tmp_path / "encoder").backend_tokenizer
    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="[SEP]").save_pretrained(tmp_path / "ends")
    tokenizer = load_tokenizer(str(tmp_path / "ends"))
    assert tokenizer.pad_token_id == tokenizer.eos_token_id == 3
    PreTrainedTokenizerFast(tokenizer_object=backend).save_pretrained(tmp_path / "neither")
    with pytest.raises(UserError, match="has no padding token"):
        load_tokenizer(str(tmp_path / "neither"))


@pytest.mark.parametrize(
    ("pair", "types"),
    [("$A [SEP] $B:1 [SEP]:1 [CLS]:2", [0, 0, 0, 1, 1, 1]), ("[CLS]:2 $A [SEP] $B:1 [SEP]:1", [0, 0, 0, 0, 1, 1])],
    ids=["xlnet", "funnel"],
)
def test_class_token_with_a_type_of_its_own_hides_no_second_text(pair: str, types: list[int], tmp_path: Path) -> None:
    tokenizer = load_tokenizer(str(build_tiny_bert(tmp_path / "encoder")))
    backend = tokenizer.backend_tokenizer
    backend.post_processor = TemplateProcessing(single="$A", pair=pair, special_tokens=[("[SEP]", 3), ("[CLS]", 2)])
    batch = encode_texts(tokenizer, [("a film", "scene")], "cross", 16)
    assert batch.token_type_ids.tolist() == [types]


@pytest.mark.parametrize("damage", ["{", '{"model": {"type": "no such"}}'])
def test_torn_tokenizer_is_told_in_one_line(damage: str, tmp_path: Path) -> None:
    (build_tiny_bert(tmp_path / "encoder") / "tokenizer.json").write_text(damage)
    with pytest.raises(UserError, match=r"^encoder\.name: no tokenizer for ") as error:
        load_tokenizer(str(tmp_path / "encoder"))
    assert len(str(error.value).splitlines()) == 1


def test_tokenizer_without_a_token_for_the_unknown(tmp_path: Path) -> None:
    backend = Tokenizer(WordPiece({"[PAD]": 0, "film": 1}, unk_token="[UNK]"))
    PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]").save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"^encoder\.name: the tokenizer of .* cannot read every text: WordPiece error"):
        load_tokenizer(str(tmp_path))
