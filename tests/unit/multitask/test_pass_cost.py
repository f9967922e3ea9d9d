"""What a pass costs, counted on shapes, against formulas and against passes that compute."""

from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel, FNetConfig, FNetModel

from multitask.config import parse_config
from multitask.model import Encoder, build_model, outline_model, pass_cost
from tests.builders import tiny_config

LAYERS, WIDTH, INNER = 3, 48, 96


def _bert(**changes: int) -> Encoder:
    shape = BertConfig(
        vocab_size=50,
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        intermediate_size=INNER,
        max_position_embeddings=64,
        **changes,
    )
    return Encoder(BertModel(shape), "mean")


def test_flops_are_three_times_those_of_the_forward_pass_by_hand() -> None:
    """Six FLOPs a token and weight of the layers, twelve a pair of tokens and unit of width; the pooler's weight once, forward alone."""
    cost = pass_cost(_bert()).flops
    assert cost.linear == 6 * LAYERS * (4 * WIDTH**2 + 2 * WIDTH * INNER)
    assert cost.quadratic == 12 * LAYERS * WIDTH
    assert cost.once == 2 * WIDTH**2


def test_frozen_layers_cost_their_forward_pass_alone() -> None:
    encoder = _bert()
    encoder.model.encoder.layer[0].requires_grad_(False)
    encoder.model.embeddings.requires_grad_(False)
    per_layer = 2 * (4 * WIDTH**2 + 2 * WIDTH * INNER)
    # The layers above: both passes, but for the gradient of what enters the lowest query, key and value.
    lowest_inputs = 3 * 2 * WIDTH**2
    assert pass_cost(encoder).flops.linear == per_layer * (1 + 3 * (LAYERS - 1)) - lowest_inputs


def test_saved_bytes_are_what_autograd_keeps_of_a_pass_that_computes() -> None:
    encoder, length = _bert(hidden_dropout_prob=0, attention_probs_dropout_prob=0), 20
    encoder.model.set_attn_implementation("eager")
    own = {parameter.data_ptr() for parameter in encoder.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        encoder.model(input_ids=torch.zeros(1, length, dtype=torch.int64))
    counted = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    saved = pass_cost(encoder).saved
    assert saved is not None
    assert saved.of(length, length**2, 1) == pytest.approx(counted, rel=0.02)


def test_encoder_that_cannot_run_on_shapes_costs_six_flops_a_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Encoder(FNetModel(FNetConfig(vocab_size=50, hidden_size=WIDTH, num_hidden_layers=2)), "mean")

    def refuse(*arguments: object, **named: object) -> None:
        raise NotImplementedError("no kernel for meta")

    monkeypatch.setattr(FNetModel, "forward", refuse)
    cost = pass_cost(encoder)
    tables = encoder.model.embeddings
    words = sum(
        own.weight.numel() for own in (tables.word_embeddings, tables.position_embeddings, tables.token_type_embeddings)
    )
    trained = sum(own.numel() for own in encoder.model.parameters() if own.requires_grad)
    assert cost.flops.linear == 6 * (trained - words)
    assert cost.saved is None


def test_outline_has_the_names_shapes_and_frozen_layers_of_the_model(folder: Path, tiny_bert: Path) -> None:
    tree = tiny_config(
        folder,
        encoder={"name": str(tiny_bert), "adapter": {"name": "lora", "rank": 2}},
        phases=[{"encoder": "frozen", "sampling": {"name": "round_robin"}}],
    )
    config = parse_config(tree, "test")
    outline, model = outline_model(config), build_model(config)
    wanted = [(name, own.shape, own.requires_grad) for name, own in model.named_parameters()]
    assert [(name, own.shape, own.requires_grad) for name, own in outline.named_parameters()] == wanted
    assert {own.device.type for own in outline.parameters()} == {"meta"}
