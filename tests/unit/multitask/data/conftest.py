"""A tiny tokenizer and a recipe around files that a test writes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from multitask.config import RunConfig, parse_config

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
WORDS = [f"w{number}" for number in range(50)]

MakeConfig = Callable[..., RunConfig]


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Words w0 … w49 are tokens 4 … 53; sequences are framed as BERT does it."""
    vocabulary = {word: number for number, word in enumerate(SPECIAL + WORDS)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )
    folder = tmp_path_factory.mktemp("encoder")
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def session_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of the tests on the full data, which are tokenised once for all of them."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def make_config(tmp_path: Path, encoder_folder: str) -> MakeConfig:
    """A run config whose one task `t` reads `train`, `dev` and `test` files in the test's folder."""

    def make(data: dict[str, Any] | None = None, **task: Any) -> RunConfig:
        task = {
            "kind": {"name": "binary"},
            "columns": {"id": "id", "text": "text", "label": "label"},
            "files": {"train": "train.csv", "dev": "dev.csv"},
            **task,
        }
        base = {"root": str(tmp_path), "cache": str(tmp_path / "cache"), "max_length": 16}
        tree = {
            "name": "x",
            "encoder": {"name": encoder_folder},
            "tasks": {"t": task},
            "data": {**base, **(data or {})},
        }
        return parse_config(tree, "test")

    return make
