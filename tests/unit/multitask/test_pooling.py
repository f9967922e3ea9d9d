"""Each pooling by hand on small tensors, and what it does in an encoder."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import BertModel, DistilBertConfig, DistilBertModel

from multitask.config.model import EncoderConfig
from multitask.errors import UserError
from multitask.model import load_encoder
from multitask.model.pooling import POOLINGS, States

MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])


def _draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _states() -> States:
    layers = tuple(_draw(2, 4, 3, seed=n) for n in range(5))
    return States(layers[-1], layers, torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]))


def _by_hand(pooling: str, states: States) -> Tensor:
    real = [states.last[0], states.last[1, :2]]
    if pooling == "cls":
        return torch.stack([state[0] for state in real])
    if pooling == "last":
        return torch.stack([state[-1] for state in real])
    if pooling == "pooler":
        return torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    if pooling == "max":
        return torch.stack([state.max(0).values for state in real])
    if pooling == "mean_layers":
        stacked = torch.stack(states.layers)
        return torch.stack([stacked[:, 0].mean((0, 1)), stacked[:, 1, :2].mean((0, 1))])
    return torch.stack([state.mean(0) for state in real])


@pytest.mark.parametrize("pooling", POOLINGS)
def test_pooling_is_what_it_is_by_hand_and_padding_changes_nothing(pooling: str) -> None:
    pool, states = POOLINGS[pooling](3), _states()
    wanted = _by_hand(pooling, states)
    torch.testing.assert_close(pool(states, MASK), wanted)
    for layer in {id(layer): layer for layer in (states.last, *states.layers)}.values():
        layer[1, 2:] = 1e4
    torch.testing.assert_close(pool(states, MASK), wanted)


def test_attention_weighs_tokens_by_a_learned_query() -> None:
    pool, states = POOLINGS["attention"](3), _states()
    with torch.no_grad():
        pool.query.copy_(torch.tensor([2.0, -1.0, 0.5]))
    for row, length in ((0, 4), (1, 2)):
        real = states.last[row, :length]
        scores = torch.stack([(state * pool.query).sum() / 3**0.5 for state in real])
        shares = scores.exp() / scores.exp().sum()
        wanted = sum(share * state for share, state in zip(shares, real, strict=True))
        torch.testing.assert_close(pool(states, MASK)[row], wanted)
    (pool(states, MASK) * _draw(2, 3, seed=9)).sum().backward()
    assert pool.query.grad is not None
    assert pool.query.grad.abs().min() > 0


@pytest.mark.parametrize("pooling", POOLINGS)
def test_encoder_gives_the_pooling_what_it_reads(tiny_bert: Path, pooling: Any) -> None:
    encoder = load_encoder(EncoderConfig(name=str(tiny_bert), pooling=pooling, dropout=0), 32).eval()
    ids = torch.randint(5, 90, (2, 4), generator=torch.Generator().manual_seed(0))
    alone = BertModel.from_pretrained(tiny_bert).eval()
    with torch.no_grad():
        output = alone(input_ids=ids, attention_mask=MASK, output_hidden_states=True)
        found = encoder(ids, MASK, torch.zeros_like(ids))
    # transformers gives the embeddings first, then each layer.
    states = States(output.last_hidden_state, output.hidden_states[1:], output.pooler_output)
    wanted = output.pooler_output if pooling == "pooler" else _by_hand(pooling, states)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_pretrained_pooler_is_trained_where_it_is_read_and_only_there(tiny_bert: Path, pooling: Any) -> None:
    encoder = load_encoder(EncoderConfig(name=str(tiny_bert), pooling=pooling, dropout=0), 32)
    ids = torch.randint(5, 90, (2, 4), generator=torch.Generator().manual_seed(0))
    (encoder(ids, MASK, torch.zeros_like(ids)) * _draw(2, 32)).sum().backward()
    trained = {n for n, p in encoder.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert trained == {n for n, p in encoder.named_parameters() if p.requires_grad}
    assert ("model.pooler.dense.weight" in trained) == (pooling == "pooler")
    assert ("pool.query" in trained) == (pooling == "attention")


def test_encoder_without_a_pooler_is_told_which_key_to_change(tmp_path: Path) -> None:
    DistilBertModel(DistilBertConfig(vocab_size=50, dim=16, n_layers=1, n_heads=2, hidden_dim=32)).save_pretrained(
        tmp_path
    )
    with pytest.raises(UserError, match=r"^encoder.pooling: a distilbert has no pooler; use cls, last, mean"):
        load_encoder(EncoderConfig(name=str(tmp_path), pooling="pooler"), 32)
