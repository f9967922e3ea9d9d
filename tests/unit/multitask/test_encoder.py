"""Encoders of several families under one set of settings: padding, dropout, token types, noise and the tap on words."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    AlbertConfig,
    AlbertModel,
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    ElectraConfig,
    ElectraModel,
    Gemma3TextConfig,
    Gemma3TextModel,
    ModernBertConfig,
    ModernBertModel,
    PreTrainedModel,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5Model,
)

from multitask.config import RunConfig, parse_config
from multitask.config.model import EncoderConfig
from multitask.data import Batch
from multitask.errors import UserError
from multitask.model import EmbeddingTap, Encoder, MultitaskModel, build_model, load_encoder, tap_embedding
from multitask.model.layers import encoder_layers, layer_numbers
from multitask.model.probing import longest_sequence
from tests.builders import save_random

_SIZE = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
_LONG = _SIZE | {"max_position_embeddings": 40}


def _modern() -> PreTrainedModel:
    ids = {"pad_token_id": 0, "cls_token_id": 1, "sep_token_id": 2, "bos_token_id": 1, "eos_token_id": 2}
    return ModernBertModel(ModernBertConfig(**_LONG, **ids))


def _distil() -> PreTrainedModel:
    return DistilBertModel(DistilBertConfig(vocab_size=50, dim=16, n_layers=2, n_heads=2, hidden_dim=32))


FAMILIES = {
    "bert": lambda: BertModel(BertConfig(**_LONG)),
    "roberta": lambda: RobertaModel(RobertaConfig(**_LONG, type_vocab_size=1, pad_token_id=1)),
    "electra": lambda: ElectraModel(ElectraConfig(**_LONG, embedding_size=8)),
    "albert": lambda: AlbertModel(AlbertConfig(**_LONG, embedding_size=8)),
    "distilbert": _distil,
    "modernbert": _modern,
}


@pytest.fixture(params=FAMILIES)
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The folder of a random encoder of one family."""
    return save_random(FAMILIES[request.param], tmp_path / request.param)


def _load(folder: Path, dropout: float = 0.0, pooling: Any = "mean", *, token_types: bool = True) -> Encoder:
    config = EncoderConfig(name=str(folder), dropout=dropout, pooling=pooling, token_types=token_types)
    return load_encoder(config, 32)


def _ids(rows: int = 3, tokens: int = 7) -> Tensor:
    return torch.randint(5, 50, (rows, tokens), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_padding_changes_no_vector(saved: Path, pooling: str) -> None:
    encoder = _load(saved, pooling=pooling).eval()
    ids, pad = _ids(), encoder.model.config.pad_token_id or 0
    mask = torch.ones_like(ids)
    wide = torch.cat([ids, torch.full((3, 4), pad)], 1)
    wide_mask = torch.cat([mask, torch.zeros(3, 4, dtype=torch.int64)], 1)
    with torch.no_grad():
        alone = encoder(ids, mask, torch.zeros_like(ids))
        padded = encoder(wide, wide_mask, torch.zeros_like(wide))
        hidden = encoder.model(input_ids=ids, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(padded, alone, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(alone, hidden[:, 0] if pooling == "cls" else hidden.mean(1))
    assert alone.shape == (3, encoder.width)


@pytest.mark.parametrize(("tokens", "length"), [(7, 8), (8, 8), (9, 16), (26, 30), (30, 30)])
def test_length_becomes_a_multiple_and_changes_no_vector(saved: Path, tokens: int, length: int) -> None:
    longest, multiple = (
        load_encoder(EncoderConfig(name=str(saved), dropout=0, padding=padding), 30) for padding in ("longest", 8)
    )
    seen: list[int] = []
    multiple.words.register_forward_hook(lambda module, arguments, output: seen.append(output.shape[1]))
    ids = _ids(tokens=tokens)
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    noise = (
        torch.randn(3, tokens, multiple.words.weight.shape[1], generator=torch.Generator().manual_seed(0))
        * mask[..., None]
    )
    inputs = ids.masked_fill(mask == 0, multiple.pad_id), mask, torch.zeros_like(ids), noise
    torch.testing.assert_close(multiple(*inputs), longest(*inputs), atol=1e-5, rtol=1e-5)
    assert seen == [length]
    assert multiple.embedded_ids(*inputs[:2]).shape == (3, length)


@pytest.mark.parametrize("padding", [1, True, "foo", 2.5])
def test_padding_is_a_name_or_a_multiple(padding: Any) -> None:
    with pytest.raises(
        ValueError, match=f"must be longest, max_length, or a number of 2 or more, got {padding!r}"
    ) as told:
        EncoderConfig(name="bert", padding=padding)
    assert told.value.error_count() == 1  # type: ignore[attr-defined]


def test_dropout_is_set_wherever_the_encoder_drops(saved: Path) -> None:
    ids = _ids()
    inputs = ids, torch.ones_like(ids), torch.zeros_like(ids)
    without = _load(saved).train()
    torch.testing.assert_close(without(*inputs), without.eval()(*inputs))
    with_dropout = _load(saved, 0.4).train()
    used = {m.p for m in with_dropout.modules() if isinstance(m, nn.Dropout)}
    assert used == {0.4}
    assert not torch.allclose(with_dropout(*inputs), with_dropout(*inputs))


def test_token_types_reach_the_encoders_that_have_them(saved: Path) -> None:
    encoder, ids = _load(saved).eval(), _ids()
    mask, types = torch.ones_like(ids), torch.zeros_like(ids)
    second = types.clone()
    second[:, 4:] = 1
    changes = not torch.equal(encoder(ids, mask, types), encoder(ids, mask, second))
    assert changes == (saved.name in ("bert", "electra", "albert"))
    without = _load(saved, token_types=False).eval()
    assert torch.equal(without(ids, mask, types), without(ids, mask, second))
    torch.testing.assert_close(without(ids, mask, second), encoder(ids, mask, types))


def test_tap_changes_no_output_and_gives_the_dense_gradient_in_every_family(saved: Path) -> None:
    encoder = _load(saved).eval()
    embedding = encoder.model.get_input_embeddings()
    ids = _ids()
    ids[1, 5:] = encoder.model.config.pad_token_id or 0
    inputs = ids, (ids != (encoder.model.config.pad_token_id or 0)).long(), torch.zeros_like(ids)
    plain = encoder(*inputs)
    dense = torch.autograd.grad(plain.square().sum(), embedding.weight)[0]
    tap = EmbeddingTap(embedding)
    with tap.record() as taken:
        tapped = encoder(*inputs)
    assert torch.equal(tapped, plain)
    gradients = torch.autograd.grad(tapped.square().sum(), [leaf for _, leaf in taken])
    found = tap.gradient([i for i, _ in taken], list(gradients))
    torch.testing.assert_close(torch.zeros_like(dense).index_copy(0, found.ids, found.rows), dense)
    assert torch.equal(encoder(*inputs), plain)


def test_noise_moves_the_embedded_words_and_nothing_else(saved: Path) -> None:
    encoder = _load(saved).eval()
    embedding = encoder.model.get_input_embeddings()
    ids = _ids()
    inputs = ids, torch.ones_like(ids), torch.zeros_like(ids)
    plain = encoder(*inputs)
    assert torch.equal(encoder(*inputs, torch.zeros(3, 7, embedding.embedding_dim)), plain)
    # A word whose vector is moved everywhere is that word with noise wherever it stands.
    move = torch.randn(embedding.embedding_dim, generator=torch.Generator().manual_seed(2))
    noise = (ids == ids[0, 0]).unsqueeze(-1) * move
    noisy = encoder(*inputs, noise)
    assert torch.equal(encoder(*inputs), plain)
    with torch.no_grad():
        embedding.weight[ids[0, 0]] += move
    torch.testing.assert_close(noisy, encoder(*inputs))
    assert not torch.allclose(noisy, plain)


def test_gradient_of_noise_is_the_tapped_words_own(saved: Path) -> None:
    encoder = _load(saved).eval()
    embedding, ids = encoder.model.get_input_embeddings(), _ids()
    tap = EmbeddingTap(embedding)
    noise = torch.zeros(3, 7, embedding.embedding_dim, requires_grad=True)
    with tap.record() as taken:
        loss = encoder(ids, torch.ones_like(ids), torch.zeros_like(ids), noise).square().sum()
    (_, leaf), *more = taken
    assert not more
    torch.testing.assert_close(leaf, embedding(ids))
    ofnoise, ofwords = torch.autograd.grad(loss, [noise, leaf])
    assert ofnoise.abs().sum() > 0
    torch.testing.assert_close(ofnoise, ofwords)


def test_layers_are_counted_from_the_embeddings_up(saved: Path) -> None:
    encoder = _load(saved, pooling="cls")
    numbers, layers = layer_numbers(encoder.model), list(encoder_layers(encoder.model).values())
    # ALBERT's layers are one module.
    assert len(layers) == (1 if saved.name == "albert" else 2)
    assert set(numbers) == {name for name, _ in encoder.model.named_parameters()}
    for name, number in numbers.items():
        if "embedding" in name:
            assert number == 0, name
        elif "pooler" in name or name.startswith("final_norm"):
            assert number == len(layers) + 1, name
        else:
            assert 1 <= number <= len(layers), name
    for number, layer in enumerate(layers, start=1):
        own = {id(p) for p in layer.parameters()}
        assert {n for n, p in encoder.model.named_parameters() if id(p) in own} == {
            n for n, found in numbers.items() if found == number
        }


@pytest.mark.parametrize("padding", [None, 0, 3])
def test_tap_sums_repeated_words_over_several_calls(padding: int | None) -> None:
    embedding = nn.Embedding(6, 4, padding_idx=padding)
    calls = [torch.tensor([[0, 3, 3], [5, 0, 1]]), torch.tensor([[3, 2]])]
    factors = [torch.randn(*ids.shape, 4, generator=torch.Generator().manual_seed(7)) for ids in calls]
    for ids, factor in zip(calls, factors, strict=True):
        (embedding(ids) * factor).sum().backward()
    tap = EmbeddingTap(embedding)
    with tap.record() as taken:
        sum((embedding(ids) * factor).sum() for ids, factor in zip(calls, factors, strict=True)).backward()
    found = tap.gradient([i for i, _ in taken], [leaf.grad for _, leaf in taken])
    assert found.ids.tolist() == [i for i in (0, 1, 2, 3, 5) if i != padding]
    assert embedding.weight.grad is not None
    torch.testing.assert_close(torch.zeros(6, 4).index_copy(0, found.ids, found.rows), embedding.weight.grad)


def _t5() -> PreTrainedModel:
    return T5Model(T5Config(vocab_size=50, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2))


def test_encoder_of_an_encoder_decoder_is_loaded_alone(tmp_path: Path) -> None:
    """Of a T5, which has a class for it."""
    folder = save_random(_t5, tmp_path / "t5")
    encoder, ids = _load(folder).eval(), _ids()
    assert not [name for name, _ in encoder.model.named_parameters() if "decoder" in name]
    whole = T5Model.from_pretrained(folder).eval().encoder
    torch.testing.assert_close(
        encoder(ids, torch.ones_like(ids), torch.zeros_like(ids)), whole(ids).last_hidden_state.mean(1)
    )


def test_missing_folder_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^encoder.name: cannot load an encoder from .*absent") as error:
        _load(tmp_path / "absent")
    assert len(str(error.value).splitlines()) == 1


def test_sequences_longer_than_the_encoders_positions_are_refused(tiny_tasks: dict[str, Any]) -> None:
    def config(length: int) -> RunConfig:
        return parse_config(tiny_tasks | {"data": tiny_tasks["data"] | {"max_length": length}}, "test")

    assert longest_sequence(build_model(config(64)).encoder) == 64
    with pytest.raises(UserError, match=r"data\.max_length: .* takes at most 64 tokens, got 65"):
        build_model(config(65))


def _some_batch() -> Batch:
    ids = _ids(4, 6)
    rows = torch.arange(4)
    return Batch(ids, torch.ones_like(ids), torch.zeros_like(ids), torch.zeros(4), rows, 1)


def test_plain_lookup_is_tapped(saved: Path) -> None:
    assert tap_embedding(MultitaskModel(_load(saved), {}), _some_batch()) is not None


def _gemma() -> PreTrainedModel:
    """Its embedded tokens are scaled by the root of the width inside the embedding module."""
    own = {"head_dim": 8, "num_key_value_heads": 1, "pad_token_id": 0}
    return Gemma3TextModel(Gemma3TextConfig(**_LONG, **own))


class _UsesTwice(BertModel):
    """Its embedding is used as a matrix, too."""

    def forward(self, *arguments: Any, **named: Any) -> Any:
        output = super().forward(*arguments, **named)
        weight = self.get_input_embeddings().weight
        output.last_hidden_state = output.last_hidden_state + output.last_hidden_state @ weight.T @ weight
        return output


class _ScalesLater(BertModel):
    """Its embedding module looks up what a hook then scales."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.get_input_embeddings().register_forward_hook(lambda module, arguments, output: 5 * output)


def test_embedding_whose_module_is_no_plain_lookup_is_not_even_compared() -> None:
    assert MultitaskModel(Encoder(_gemma(), "mean"), {}).token_embedding() is None


@pytest.mark.parametrize(
    "build", [_gemma, lambda: _UsesTwice(BertConfig(**_LONG)), lambda: _ScalesLater(BertConfig(**_LONG))]
)
def test_embedding_that_is_more_than_a_lookup_is_left_to_autograd(build: Callable[[], PreTrainedModel]) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MultitaskModel(Encoder(build(), "mean"), {})
    embedding = model.encoder.model.get_input_embeddings()
    hooks = len(embedding._forward_hooks)
    assert tap_embedding(model, _some_batch()) is None
    assert len(embedding._forward_hooks) == hooks


def test_encoder_whose_weights_do_not_fit_is_refused(saved: Path) -> None:
    weights = load_file(saved / "model.safetensors")
    whole = len([name for name in weights if not name.startswith("pooler.")])
    save_file(
        {f"module.encoder.{name}": w for name, w in weights.items()}, saved / "model.safetensors", {"format": "pt"}
    )
    told = rf"lacks {whole} of {whole} weights of a {saved.name}, such as .*, {len(weights)} weights there fit nowhere"
    with pytest.raises(UserError, match=told):
        _load(saved)


def test_a_single_weight_that_is_missing_is_refused_but_the_poolers(saved: Path) -> None:
    weights = load_file(saved / "model.safetensors")
    without = {name: weight for name, weight in weights.items() if not name.startswith("pooler.")}
    save_file(without, saved / "model.safetensors", {"format": "pt"})
    _load(saved)
    without.pop(max(without))
    save_file(without, saved / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"lacks 1 of \d+ weights"):
        _load(saved)
