"""A tiny encoder and three tiny tasks, made offline; worker scripts that tests start import them too."""

import csv
import random
import string
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import BertConfig, BertModel, BertTokenizer, PreTrainedModel

CLASS_WORDS = (
    ("awful", "dreadful", "worst", "hideous", "unbearable", "painful"),
    ("dull", "weak", "tired", "clumsy", "boring", "flat"),
    ("average", "plain", "ordinary", "middling", "passable", "mixed"),
    ("good", "pleasant", "warm", "clever", "lively", "charming"),
    ("brilliant", "superb", "dazzling", "masterful", "glorious", "perfect"),
)
FILLER = tuple(
    "a the film story is and it this its with of in an actor scene script moments almost quite always".split()
)
TOPIC = tuple("cat dog river boat bread garden bicycle music train mountain winter doctor".split())
OTHER = tuple("engine market candle parliament volcano carpet lawyer pepper satellite glacier ticket violin".split())
ASKING = tuple("how what where who why when can do you i we to".split())
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

Row = tuple[str | int | float, ...]


def build_tiny_bert(folder: Path, *, seed: int = 0, dropout: float = 0.0) -> Path:
    """Save a random BERT (2 layers, width 32, 4 heads, 64 positions) with a fast tokenizer into `folder`.

    The vocabulary holds the words of the tiny tasks, every ASCII letter, digit and punctuation mark: any ASCII text
    tokenises without `[UNK]`. The same seed gives the same weights; torch's global generator is left alone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {token: index for index, token in enumerate(_vocabulary())}
    BertTokenizer(vocab=vocabulary, do_lower_case=True, model_max_length=64).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        # With the usual 0.02 a network this narrow passes hardly any signal.
        initializer_range=0.1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        BertModel(config).save_pretrained(folder)
    return folder


def save_random(build: Callable[[], PreTrainedModel], folder: Path) -> Path:
    """Save the random encoder that `build` makes, with a tokenizer of as many tokens, into `folder`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build()
    model.save_pretrained(folder)
    words = [*_SPECIAL, *(f"word{number}" for number in range(model.config.vocab_size - len(_SPECIAL)))]
    BertTokenizer(vocab={word: number for number, word in enumerate(words)}).save_pretrained(folder)
    return folder


def _vocabulary() -> list[str]:
    words = [word for words in CLASS_WORDS for word in words] + [*FILLER, *TOPIC, *OTHER, *ASKING]
    pieces = [f"##{character}" for character in string.ascii_lowercase + string.digits]
    characters = string.ascii_lowercase + string.digits + string.punctuation
    return list(dict.fromkeys([*_SPECIAL, *characters, *pieces, *words]))


def write_tiny_tasks(folder: Path, *, rows: int = 60, dev_rows: int = 20, seed: int = 0) -> None:
    """Write `{sst,quora,sts}-{train,dev}.csv` in the CS224N layout into `folder`.

    `rows` training rows of `sst` and `quora`, five sixths as many of `sts`, `dev_rows` of each for dev. All classes
    occur in turn, lengths vary from 2 to 13 words, and a linear model on word counts can learn every label.
    """
    folder.mkdir(parents=True, exist_ok=True)
    generator = random.Random(seed)
    sizes = {"sst": rows, "quora": rows, "sts": rows * 5 // 6}
    for task, (columns, make_row) in _TASKS.items():
        for split, count in (("train", sizes[task]), ("dev", dev_rows)):
            made = (make_row(generator, index) for index in range(count))
            _write(folder / f"{task}-{split}.csv", columns, made)


def _write(path: Path, columns: tuple[str, ...], rows: Iterator[Row]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(["", "id", *columns])
        for index, row in enumerate(rows):
            writer.writerow([index, f"{path.stem}-{index}", *row])


def _sst_row(generator: random.Random, index: int) -> Row:
    label = index % 5
    words = generator.sample(CLASS_WORDS[label], 2) + generator.choices(FILLER, k=generator.randint(1, 10))
    generator.shuffle(words)
    return " " + " ".join(words) + " .", label


def _quora_row(generator: random.Random, index: int) -> Row:
    duplicate = index % 2
    words = generator.sample(TOPIC, generator.randint(1, 6))
    second = generator.sample(words if duplicate else OTHER, len(words))
    # Quotation marks, so that the files have quoted fields as the real ones do.
    first = f'"{words[0]}" {" ".join(words[1:])}'.strip()
    return f"{generator.choice(ASKING)} {first}?", f"{generator.choice(ASKING)} {' '.join(second)}?", float(duplicate)


def _sts_row(generator: random.Random, index: int) -> Row:
    shared = index % 6
    words = generator.sample(TOPIC, 5)
    second = generator.sample(words, shared) + generator.sample(OTHER, 5 - shared)
    filler = generator.choices(FILLER, k=generator.randint(0, 5))
    return " ".join(words + filler), " ".join(second + filler), float(shared)


_TASKS: dict[str, tuple[tuple[str, ...], Callable[[random.Random, int], Row]]] = {
    "sst": (("sentence", "sentiment"), _sst_row),
    "quora": (("sentence1", "sentence2", "is_duplicate"), _quora_row),
    "sts": (("sentence1", "sentence2", "similarity"), _sts_row),
}


def tiny_config(folder: Path, **changes: Any) -> dict[str, Any]:
    """A recipe tree over `folder`, where `write_tiny_tasks` has put the data and `build_tiny_bert` `encoder/`.

    Cache and run folders lie there too. `changes` replace top-level keys; a mapping is merged key by key instead,
    to any depth. The result holds plain values only, for `multitask.config.parse_config` or a JSON file.
    """
    tree: dict[str, Any] = {
        "name": "tiny",
        "seed": 1,
        "encoder": {"name": str(folder / "encoder"), "pooling": "mean", "dropout": 0.0},
        "data": {
            "root": str(folder),
            "cache": str(folder / "cache"),
            "max_length": 32,
            "batch_size": 6,
            "pool_batches": 4,
        },
        "tasks": _task_declarations(),
        "phases": [{"sampling": {"name": "round_robin"}, "epochs": 1}],
        "combination": {"name": "pcgrad"},
        "optimizer": {"name": "adamw", "lr": 1e-3},
        "cluster": {"workers": 1, "device": "cpu", "spares": False, "storage": str(folder / "runs")},
        "tracking": {"mode": "disabled"},
    }
    return merge(tree, changes)


def _task_declarations() -> dict[str, Any]:
    pair = {"id": "id", "text": "sentence1", "text_pair": "sentence2"}
    declared: dict[str, dict[str, Any]] = {
        "sst": {
            "kind": {"name": "classification", "classes": 5},
            "columns": {"id": "id", "text": "sentence", "label": "sentiment"},
        },
        "quora": {
            "kind": {"name": "binary"},
            "columns": {**pair, "label": "is_duplicate"},
            "pair_encoding": {"name": "cross_encoder"},
        },
        "sts": {
            "kind": {"name": "regression", "low": 0.0, "high": 5.0},
            "columns": {**pair, "label": "similarity"},
            "pair_encoding": {"name": "cross_encoder"},
        },
    }
    for task, declaration in declared.items():
        declaration["files"] = {split: [f"{task}-{split}.csv"] for split in ("train", "dev")}
        declaration["format"] = "cs224n"
    return declared


def merge(tree: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`tree` with `changes`; mappings are merged key by key, to any depth."""
    merged = dict(tree)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged
