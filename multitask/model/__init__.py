"""The shared encoder, its pooling and adapters, and one head per task."""

from multitask.model.compiling import compile_layers
from multitask.model.embedding import EmbeddingTap, TokenGradient, tap_embedding
from multitask.model.encoder import Encoder
from multitask.model.freezing import lowest_trained_layer
from multitask.model.head import Head
from multitask.model.heads import HEADS, ContrastiveHead, build_head
from multitask.model.loading import auto_class, load_encoder
from multitask.model.lora import merge_lora
from multitask.model.network import MultitaskModel, assemble_model, balance_classes, build_model, outline_model
from multitask.model.number_heads import RankingHead
from multitask.model.pass_cost import PassCost, PerSequence, pass_cost

__all__ = [
    "HEADS",
    "ContrastiveHead",
    "EmbeddingTap",
    "Encoder",
    "Head",
    "MultitaskModel",
    "PassCost",
    "PerSequence",
    "RankingHead",
    "TokenGradient",
    "assemble_model",
    "auto_class",
    "balance_classes",
    "build_head",
    "build_model",
    "compile_layers",
    "load_encoder",
    "lowest_trained_layer",
    "merge_lora",
    "outline_model",
    "pass_cost",
    "tap_embedding",
]
