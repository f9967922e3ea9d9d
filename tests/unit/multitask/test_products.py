"""TF32 is for the encoder's products and for the way back; what compares and sums gradients keeps its precision."""

from typing import Any

import pytest
import torch

from cluster.step.stopwatch import Stopwatch
from cluster.storage.run_folder import RunFolder
from cluster.training.loop import Run
from cluster.training.session import LocalSession
from cluster.training.worker import open_tables
from multitask.combination.blocks import Blocks
from multitask.combination.gramian import gramian
from multitask.config import parse_config
from multitask.data import prepare_tables
from multitask.device import tf32_products
from multitask.errors import UserError
from multitask.model import MultitaskModel
from multitask.model.layers import encoder_layers
from multitask.trainer.record import TrainRecord
from multitask.trainer.trainer import Trainer
from tests.builders import merge


def _now(*ignored: object) -> str:
    return str(torch.backends.cuda.matmul.fp32_precision)


@pytest.fixture
def of_gramian(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The precisions in which Gramians were taken."""
    seen, gramian = set[str](), Blocks.gramian

    def watched(self: Blocks, *arguments: Any) -> torch.Tensor:
        seen.add(_now())
        return gramian(self, *arguments)

    monkeypatch.setattr(Blocks, "gramian", watched)
    return seen


def _watch(model: MultitaskModel) -> tuple[set[str], set[str], set[str]]:
    """The precisions in which a layer passes, in which its gradient comes back, and in which a head passes."""
    forward, backward, heads = set[str](), set[str](), set[str]()
    layer = next(iter(encoder_layers(model.encoder.model).values()))
    layer.register_forward_pre_hook(lambda *ignored: forward.add(_now()))
    next(layer.parameters()).register_hook(lambda gradient: backward.add(_now()))
    model.head("sst").register_forward_pre_hook(lambda *ignored: heads.add(_now()))
    return forward, backward, heads


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize("plain", [True, False], ids=["plain trainer", "cluster"])
def test_only_the_encoder_multiplies_in_tf32(
    tiny_tasks: dict[str, Any], of_gramian: set[str], wanted: bool, plain: bool
) -> None:
    tree = merge(tiny_tasks, {"training": {"tf32": wanted}, "cluster": {"device": "auto"}})
    config, before = parse_config(tree, "test"), _now()
    if plain:
        trainer = Trainer(config, prepare_tables(config), torch.device("cpu"))
        seen = _watch(trainer.model)
        trainer.train_step()
    else:
        session = LocalSession("cpu")
        run = Run(config, session, RunFolder.of(config), open_tables(config, session), Stopwatch(session.device))
        seen = _watch(run.engine.model)
        run.engine.deepspeed.train()
        run.train_step(TrainRecord())
    assert before != "tf32"
    inside = "tf32" if wanted else before
    assert seen == ({inside}, {inside}, {before})
    assert of_gramian == {before}
    assert _now() == before


def test_precision_is_as_it_was_after_an_error() -> None:
    before, seen = _now(), []

    def fail() -> None:
        with tf32_products(True):
            seen.append(_now())
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail()
    assert seen == ["tf32"]
    assert _now() == before


def test_cpu_is_refused(tiny_tasks: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"training\.tf32 is about products on a GPU, but cluster\.device=cpu"):
        parse_config(merge(tiny_tasks, {"training": {"tf32": True}, "cluster": {"device": "cpu"}}), "test")


def test_gramian_is_in_fp32_whatever_the_process_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    products: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)  # type: ignore[attr-defined]
    seen, bmm = [], torch.bmm

    def watched(*arguments: Any) -> torch.Tensor:
        seen.append([own.fp32_precision for own in products])
        return bmm(*arguments)

    monkeypatch.setattr(torch, "bmm", watched)
    rows = torch.randn(3, 20_000, generator=torch.Generator().manual_seed(0))
    before = [own.fp32_precision for own in products]
    try:
        products[0].fp32_precision, products[1].fp32_precision = "tf32", "bf16"
        found = gramian(list(rows))
        assert [own.fp32_precision for own in products] == ["tf32", "bf16"]
    finally:
        products[0].fp32_precision, products[1].fp32_precision = before
    assert seen == [["ieee", "ieee"]]
    torch.testing.assert_close(found.double(), rows.double() @ rows.double().T, rtol=1e-6, atol=1e-3)
