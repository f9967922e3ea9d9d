"""The norm by which the combined gradient is clipped, where task gradients nearly cancel."""

from typing import Any

import pytest
import torch
from torch import Tensor

from cluster.step.exchange import GradientExchange
from cluster.step.stopwatch import Stopwatch
from cluster.storage.run_folder import RunFolder
from cluster.training.loop import Run
from cluster.training.session import LocalSession
from cluster.training.worker import open_tables
from multitask.combination.base import ones
from multitask.config import parse_config


@pytest.mark.parametrize("left", [1e-2, 1e-4, 1e-6])
def test_norm_keeps_its_digits_where_gradients_nearly_cancel(
    tiny_tasks: dict[str, Any], monkeypatch: pytest.MonkeyPatch, left: float
) -> None:
    """Two gradients g and −g + ε·h of length about 1: what is left of their sum has length ε."""
    config = parse_config(tiny_tasks | {"combination": {"name": "pcgrad"}, "training": {"clip_norm": left / 2}}, "test")
    session = LocalSession("cpu")
    run = Run(config, session, RunFolder.of(config), open_tables(config, session), Stopwatch(session.device))
    made: list[Tensor] = []

    def crafted(exchange: GradientExchange) -> tuple[list[Tensor], Tensor]:
        shards, head = finish(exchange)
        one, other = (torch.randn(len(shards[0]), generator=torch.Generator().manual_seed(n)) for n in (1, 2))
        one, other = one / one.norm(), other / other.norm()
        made[:] = [one, left * other - one, *(torch.zeros_like(one) for _ in shards[2:])]
        return list(made), torch.zeros_like(head)

    finish = GradientExchange.finish
    monkeypatch.setattr(GradientExchange, "finish", crafted)
    monkeypatch.setattr(run.step, "_exchange_tokens", lambda *arguments: None)
    monkeypatch.setattr(run.combination, "factors", ones)
    for shard in run.engine.shards:
        shard.zero_()
    result = run.step.run(run.source.share(run.schedule.round(0)), 1e-3)
    whole = sum((gradient.double() for gradient in made), start=torch.zeros(()))
    wanted = whole.norm().item()
    assert result.norm == pytest.approx(wanted, rel=1e-3)
    clipped = torch.cat(run.engine.shards).double().norm().item()
    assert clipped == pytest.approx(wanted * (left / 2) / (wanted + 1e-6), rel=1e-3)
