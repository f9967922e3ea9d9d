"""The shared encoder, its pooling, and one head per task."""

from multitask.model.embedding import EmbeddingTap, TokenGradient
from multitask.model.encoder import Encoder, load_encoder
from multitask.model.heads import HEADS, Head, build_head
from multitask.model.network import MultitaskModel, build_model

__all__ = [
    "HEADS",
    "EmbeddingTap",
    "Encoder",
    "Head",
    "MultitaskModel",
    "TokenGradient",
    "build_head",
    "build_model",
    "load_encoder",
]
