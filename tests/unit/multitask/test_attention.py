"""Which implementation of attention an encoder uses changes what is computed by rounding alone, or is refused in one line."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import DebertaV2Config, DebertaV2Model

from multitask.config import parse_config
from multitask.data import prepare_tables
from multitask.errors import UserError
from multitask.export import load_export
from multitask.model import auto_class, build_model
from multitask.model.attention import use_flash
from multitask.trainer.trainer import Trainer, train
from tests.builders import merge, save_random

PAL = {"adapter": {"name": "projected_attention", "width": 8, "heads": 2}}
FLASH: dict[str, Any] = {"encoder": {"attention": "flash"}, "precision": "autocast", "cluster": {"device": "auto"}}


def _trained(tree: dict[str, Any], **encoder: Any) -> tuple[Trainer, torch.Tensor]:
    config = parse_config(merge(tree, {"encoder": encoder}), "test")
    trainer = Trainer(config, prepare_tables(config), torch.device("cpu"))
    for _ in range(2):
        assert trainer.train_step().applied
    return trainer, torch.cat([own.flatten() for own in trainer.step.weights.copy().values()])


@pytest.mark.parametrize("encoder", [{}, {"dropout": 0.2}, PAL], ids=["plain", "row dropout", "projected attention"])
def test_eager_trains_as_sdpa_does(tiny_tasks: dict[str, Any], encoder: dict[str, Any]) -> None:
    tree = merge(tiny_tasks, {"encoder": encoder, "optimizer": {"eps": 1e-4}})
    (eager, found), (sdpa, wanted) = (_trained(tree, attention=kind) for kind in ("eager", "sdpa"))
    names = [own.model.encoder.model.config._attn_implementation for own in (eager, sdpa)]
    assert names == ["eager", "sdpa"]
    assert eager.model.encoder.takes_ready_mask
    assert sdpa.model.encoder.takes_ready_mask
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)


def test_auto_is_what_the_class_takes_by_itself(tiny_tasks: dict[str, Any]) -> None:
    model = build_model(parse_config(tiny_tasks, "test")).encoder.model
    assert model.config._attn_implementation == "sdpa"


def test_class_without_an_implementation_is_refused(tiny_tasks: dict[str, Any], tmp_path: Path) -> None:
    shape = DebertaV2Config(
        vocab_size=200, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64
    )
    place = save_random(lambda: DebertaV2Model(shape), tmp_path / "deberta")
    config = parse_config(merge(tiny_tasks, {"encoder": {"name": str(place), "attention": "sdpa"}}), "test")
    with pytest.raises(UserError, match=r"^encoder\.attention: a deberta-v2 has no sdpa attention; use auto$"):
        build_model(config)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cluster": {"device": "cpu"}}, "encoder.attention=flash needs a GPU, but cluster.device=cpu"),
        ({"precision": "fp32"}, "computes in half precision: set precision to bf16, autocast or fp16"),
        ({"encoder": {"dropout": 0.1}}, "set encoder.dropout_key=rank or encoder.dropout=0"),
        ({"training": {"deterministic": True}}, "training.deterministic: encoder.attention=flash"),
        ({"training": {"compile": True}}, "training.compile: encoder.attention=flash"),
    ],
)
def test_config_refuses_flash_where_it_cannot_work(
    tiny_tasks: dict[str, Any], changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        parse_config(merge(merge(tiny_tasks, FLASH), changes), "test")


def test_flash_is_refused_without_a_gpu_and_without_its_package(tiny_tasks: dict[str, Any]) -> None:
    config = parse_config(merge(tiny_tasks, FLASH), "test")
    with pytest.raises(UserError, match="flash needs a GPU, and this run has none"):
        build_model(config, torch.device("cpu"))
    encoder = build_model(config).encoder
    with pytest.raises(UserError, match="flash needs the package flash_attn, which is not installed"):
        use_flash(encoder, config.encoder, torch.device("cuda"))


def test_export_carries_no_implementation(tiny_tasks: dict[str, Any], tmp_path: Path) -> None:
    tree = merge(tiny_tasks, {"encoder": {"attention": "eager"}, "training": {"stop_after": 1}})
    export = train(tree, progress=False, device="cpu").export(tmp_path / "export")
    assert "attn" not in json.dumps(json.loads((export / "config.json").read_text()))
    assert load_export(export).model.encoder.model.config._attn_implementation == "eager"
    config = load_export(export).model.encoder.model.config
    assert auto_class(config).from_pretrained(export).config._attn_implementation == "sdpa"


def test_model_trained_with_flash_is_opened_without_it(tiny_tasks: dict[str, Any]) -> None:
    assert (
        build_model(parse_config(merge(tiny_tasks, FLASH), "test")).encoder.model.config._attn_implementation == "sdpa"
    )
