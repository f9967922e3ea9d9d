from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast

from multitask.config import RunConfig
from multitask.data import Pairing, collate, encode_texts, load_tokenizer, prepare, tokenizer_id

MakeConfig = Callable[..., RunConfig]

TEXTS = [
    ("w1 w2 w3", "w4"),
    ("w5", "w6 w7 w8 w9"),
    ("w1", "w2"),
    (" ".join(f"w{n}" for n in range(20)), "w1 w2 w3"),
]
PAIR_TASK: dict[str, Any] = {"columns": {"id": "id", "text": "text", "text_pair": "pair", "label": "label"}}


@pytest.fixture
def tokenizer(encoder_folder: str) -> PreTrainedTokenizerFast:
    return load_tokenizer(encoder_folder)


@pytest.fixture
def config_of(tmp_path: Path, make_config: MakeConfig) -> Callable[[Pairing], RunConfig]:
    lines = [f"r{n},{a},{b},{n % 2}" for n, (a, b) in enumerate(TEXTS)]
    (tmp_path / "train.csv").write_text("\n".join(["id,text,pair,label", *lines]))

    def make(pairing: Pairing) -> RunConfig:
        if pairing == "single":
            return make_config()
        encoding = {"cross": "cross_encoder", "bi": "bi_encoder"}[pairing]
        return make_config(**PAIR_TASK, pair_encoding={"name": encoding})

    return make


def expected(tokenizer: PreTrainedTokenizerFast, pairing: Pairing, rows: list[int]) -> dict[str, torch.Tensor]:
    """What transformers' own call gives for these rows."""
    firsts, seconds = [TEXTS[row][0] for row in rows], [TEXTS[row][1] for row in rows]
    settings = {"truncation": "longest_first", "max_length": 16, "padding": "longest", "return_tensors": "pt"}
    if pairing == "cross":
        return dict(tokenizer(firsts, seconds, **settings))
    return dict(tokenizer(firsts if pairing == "single" else firsts + seconds, **settings))


@pytest.mark.parametrize("pairing", ["single", "cross", "bi"])
@pytest.mark.parametrize("rows", [[0, 1, 2, 3], [2], [3, 0], [2, 1]])
def test_batch_is_what_transformers_gives(
    tokenizer: PreTrainedTokenizerFast, config_of: Callable[[Pairing], RunConfig], pairing: Pairing, rows: list[int]
) -> None:
    table = prepare(config_of(pairing), "t", "train", tokenizer, tokenizer_id(tokenizer))
    batch = collate(table, np.array(rows), tokenizer.pad_token_id)
    tensors = expected(tokenizer, pairing, rows)
    assert set(tensors) == {"input_ids", "token_type_ids", "attention_mask"}
    for name, tensor in tensors.items():
        assert getattr(batch, name).dtype == torch.int64
        assert torch.equal(getattr(batch, name), tensor), name
    assert batch.labels.tolist() == [row % 2 for row in rows]
    assert batch.labels.dtype == torch.float32
    assert batch.rows.tolist() == rows
    assert batch.sequences == table.sequences == (2 if pairing == "bi" else 1)
    assert batch.slots == batch.input_ids.shape[0] * batch.input_ids.shape[1]
    assert batch.tokens == int(batch.attention_mask.sum())


@pytest.mark.parametrize("pairing", ["single", "cross", "bi"])
def test_raw_texts_give_the_batch_of_the_table(
    tokenizer: PreTrainedTokenizerFast, config_of: Callable[[Pairing], RunConfig], pairing: Pairing
) -> None:
    table = prepare(config_of(pairing), "t", "train", tokenizer, tokenizer_id(tokenizer))
    batch = collate(table, [0, 1, 2, 3], tokenizer.pad_token_id)
    raw = encode_texts(tokenizer, table.texts([0, 1, 2, 3]), pairing, 16)
    for name in ("input_ids", "attention_mask", "token_type_ids", "rows"):
        assert torch.equal(getattr(raw, name), getattr(batch, name))
    assert raw.labels.isnan().all()
    assert raw.sequences == batch.sequences


def test_bi_encoder_stacks_first_texts_over_second_texts(tokenizer: PreTrainedTokenizerFast) -> None:
    batch = encode_texts(tokenizer, [("w0 w1", "w2"), ("w3", "w4")], "bi", 16)
    assert batch.input_ids.tolist() == [[2, 4, 5, 3], [2, 7, 3, 0], [2, 6, 3, 0], [2, 8, 3, 0]]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 0]]
    assert (batch.tokens, batch.slots) == (13, 16)


def test_no_texts_give_an_empty_batch(tokenizer: PreTrainedTokenizerFast) -> None:
    assert encode_texts(tokenizer, [], "cross", 16).input_ids.shape == (0, 0)


def test_tokenizer_without_token_types_gives_none(tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    batch = encode_texts(tokenizer, [("w0", "w1")], "cross", 16)
    assert batch.token_type_ids.tolist() == [[0] * 5]


def test_encoding_does_not_depend_on_earlier_calls(tokenizer: PreTrainedTokenizerFast) -> None:
    texts: list[tuple[str, str | None]] = [("w0 w1 w2 w3 w4 w5", None)]
    before = encode_texts(tokenizer, texts, "single", 16)
    tokenizer("w0", truncation=True, max_length=4, padding="max_length")
    assert torch.equal(encode_texts(tokenizer, texts, "single", 16).input_ids, before.input_ids)


def test_batch_moves_whole(tokenizer: PreTrainedTokenizerFast) -> None:
    batch = encode_texts(tokenizer, [("w0", "w1")], "bi", 16).to(torch.device("meta"))
    tensors = [value for value in vars(batch).values() if isinstance(value, torch.Tensor)]
    assert [tensor.device.type for tensor in tensors] == ["meta"] * 5
    assert batch.sequences == 2


@pytest.mark.parametrize("pairing", ["single", "cross", "bi"])
def test_batch_is_sent_small_and_is_the_same_there(
    tokenizer: PreTrainedTokenizerFast, config_of: Callable[[Pairing], RunConfig], pairing: Pairing
) -> None:
    batch = collate(prepare(config_of(pairing), "t", "train", tokenizer, tokenizer_id(tokenizer)), [0, 1, 2, 3], 0)
    sent = batch._packed()
    there = batch._unpacked(sent)
    for name in ("input_ids", "attention_mask", "token_type_ids", "labels", "rows"):
        assert torch.equal(getattr(there, name), getattr(batch, name)), name
        assert getattr(there, name).dtype == getattr(batch, name).dtype, name
    assert there.on_host is batch
    assert (there.tokens, there.is_padded) == (batch.tokens, batch.is_padded)
    of_slots = sum(part.numel() * part.element_size() for part in sent[:2])
    assert of_slots == 5 * batch.slots, "24 as it lies on the device"
