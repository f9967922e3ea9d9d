"""What the sections of `python -m tests.gpu` are given and give."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import BertConfig, BertModel

from cluster.training.session import LocalSession
from multitask.config import RunConfig, parse_config
from tests.builders import build_tiny_bert, save_random, tiny_config, write_tiny_tasks


class Row(NamedTuple):
    """One line of the table; `beside`: what the value is compared with; `is_right`: None where nothing can be wrong."""

    section: str
    what: str
    value: str
    beside: str = ""
    is_right: bool | None = None


# Layers, width and inner width of encoders by name; heads of 64, or as BERT-base has them.
SIZES = {"MiniLM": (6, 384, 1536), "BERT-base": (12, 768, 3072), "tiny": (2, 48, 96)}
VOCABULARY = 30522


class Place(NamedTuple):
    """Where it is measured."""

    session: LocalSession
    folder: Path
    small: bool

    @property
    def device(self) -> torch.device:
        """Of this process."""
        return self.session.device

    @property
    def is_cuda(self) -> bool:
        """Whether there is a GPU."""
        return self.device.type == "cuda"

    @property
    def sizes(self) -> tuple[str, ...]:
        """The encoders that are measured."""
        return ("tiny",) if self.small else ("MiniLM", "BERT-base")

    def encoder(self, size: str) -> Path:
        """The folder of a random BERT of this size, made at its first use."""
        place = self.folder / size
        if not place.exists():
            layers, width, inner = SIZES[size]
            shape = BertConfig(
                vocab_size=VOCABULARY,
                num_hidden_layers=layers,
                hidden_size=width,
                intermediate_size=inner,
                num_attention_heads=12,
            )
            save_random(lambda: BertModel(shape), place)
        return place

    def recipe(self, name: str, **changes: Any) -> RunConfig:
        """A run of the tiny tasks, on the tiny encoder if `changes` say no other."""
        data = self.folder / "data"
        if not data.exists():
            write_tiny_tasks(data, rows=120)
            build_tiny_bert(data / "encoder")
        tree = tiny_config(data, name=name, **changes)
        return parse_config(tree | {"cluster": tree["cluster"] | {"device": "auto"}}, "tests.gpu")
