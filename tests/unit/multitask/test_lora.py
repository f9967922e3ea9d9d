"""Low-rank updates: what they add, what is trained, and that merging them changes nothing that is computed."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import BertModel

from multitask.config.model import EncoderConfig
from multitask.errors import UserError
from multitask.model import Encoder, load_encoder, merge_lora


def _load(folder: Path, pooling: Any = "mean", **lora: Any) -> Encoder:
    adapter = {"name": "lora", **lora} if lora else {"name": "none"}
    tree = {"name": str(folder), "pooling": pooling, "dropout": 0, "adapter": adapter}
    return load_encoder(EncoderConfig.model_validate(tree), 32)


def _inputs() -> tuple[Tensor, Tensor, Tensor]:
    ids = torch.randint(5, 90, (3, 7), generator=torch.Generator().manual_seed(0))
    return ids, torch.ones_like(ids), torch.zeros_like(ids)


def _move(encoder: Encoder) -> None:
    """Give all trained parameters values of their own."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in encoder.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)


def test_training_starts_from_the_encoder_and_trains_the_updates_alone(tiny_bert: Path) -> None:
    encoder, plain = _load(tiny_bert, rank=4), _load(tiny_bert)
    torch.testing.assert_close(encoder(*_inputs()), plain(*_inputs()))
    trained = {n: p for n, p in encoder.named_parameters() if p.requires_grad}
    # Two layers, query and value, A and B.
    assert len(trained) == 8
    assert {tuple(p.shape) for p in trained.values()} == {(4, 32), (32, 4)}
    _move(encoder)
    encoder(*_inputs()).square().sum().backward()
    assert {n for n, p in encoder.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0} == set(trained)


def test_pooler_that_is_read_is_trained_beside_the_updates(tiny_bert: Path) -> None:
    encoder = _load(tiny_bert, "pooler", rank=2)
    others = {n for n, p in encoder.named_parameters() if p.requires_grad and "lora_" not in n}
    assert others == {"model.pooler.dense.weight", "model.pooler.dense.bias"}


def test_update_is_alpha_over_rank_times_b_a(tiny_bert: Path) -> None:
    encoder = _load(tiny_bert, rank=4, alpha=6.0, targets=["value"])
    _move(encoder)
    tensors = {n: p.detach() for n, p in encoder.model.named_parameters()}
    plain = BertModel.from_pretrained(tiny_bert).eval()
    with torch.no_grad():
        for number, layer in enumerate(plain.encoder.layer):
            name = f"encoder.layer.{number}.attention.self.value"
            update = tensors[f"{name}.lora_B.default.weight"] @ tensors[f"{name}.lora_A.default.weight"]
            assert update.abs().sum() > 0
            layer.attention.self.value.weight += 6.0 / 4 * update
    ids, mask, types = _inputs()
    wanted = plain(input_ids=ids, attention_mask=mask, token_type_ids=types).last_hidden_state.mean(1)
    torch.testing.assert_close(encoder(ids, mask, types), wanted)


def test_dropout_of_the_updates_is_their_own(tiny_bert: Path) -> None:
    encoder = _load(tiny_bert, rank=4, dropout=0.5).train()
    assert torch.equal(encoder(*_inputs()), encoder(*_inputs()))
    _move(encoder)
    assert not torch.allclose(encoder(*_inputs()), encoder(*_inputs()))
    assert torch.equal(encoder.eval()(*_inputs()), encoder(*_inputs()))


@pytest.mark.parametrize("targets", [["query", "value"], ["attention.output.dense", "key"], ["0.output.dense"]])
def test_merged_encoder_computes_the_same_and_is_a_plain_one(
    tiny_bert: Path, tmp_path: Path, targets: list[str]
) -> None:
    encoder = _load(tiny_bert, rank=3, dropout=0.2, targets=targets)
    _move(encoder)
    encoder.eval()
    before = {n: p.clone() for n, p in encoder.named_parameters()}
    merged = merge_lora(encoder.model)
    wanted = encoder(*_inputs())
    torch.testing.assert_close(Encoder(merged, "mean")(*_inputs()), wanted)
    assert not torch.allclose(wanted, _load(tiny_bert).eval()(*_inputs()), atol=1e-3)
    assert all(torch.equal(p, before[n]) for n, p in encoder.named_parameters())
    assert set(merged.state_dict()) == set(BertModel.from_pretrained(tiny_bert).state_dict())
    merged.save_pretrained(tmp_path)
    torch.testing.assert_close(_load(tmp_path).eval()(*_inputs()), wanted)


def test_encoder_without_updates_is_not_copied(tiny_bert: Path) -> None:
    model = _load(tiny_bert).model
    assert merge_lora(model) is model


def test_targets_are_ends_of_names_at_a_dot(tiny_bert: Path) -> None:
    def adapted(*targets: str) -> set[str]:
        encoder = _load(tiny_bert, rank=1, targets=targets)
        return {n.rsplit(".lora_A", 1)[0] for n, m in encoder.model.named_modules() if n.endswith("lora_A.default")}

    dense = {n for n, m in _load(tiny_bert).model.named_modules() if isinstance(m, nn.Linear) and n.endswith("dense")}
    # The pooler's dense layer is in no layer of the encoder.
    assert adapted("dense") == dense - {"pooler.dense"}
    assert adapted("intermediate.dense") == {f"encoder.layer.{n}.intermediate.dense" for n in range(2)}


@pytest.mark.parametrize("targets", [["querry"], ["query", "querry"], ["uery"], ["embeddings.word_embeddings"]])
def test_unknown_target_is_told_in_one_line_with_the_names_there_are(tiny_bert: Path, targets: list[str]) -> None:
    with pytest.raises(UserError, match=r"^encoder.adapter.targets: no linear layer's name ends in ") as error:
        _load(tiny_bert, rank=1, targets=targets)
    told = str(error.value)
    assert "\n" not in told
    assert repr(targets[-1]) in told
    assert "attention.self.query, attention.self.value" in told
    assert "closest: attention.self.query" in told or "embeddings" in targets[0]
