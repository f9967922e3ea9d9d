"""PCGrad as others do it, in one process: what `tests.benchmarks.combination` measures beside ours."""

import copy
import random
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torchjd import autojac
from torchjd.aggregation import PCGrad

from multitask.config import RunConfig
from multitask.data import Batch
from multitask.model import MultitaskModel, build_model


def _start(
    settings: RunConfig, whole: Mapping[str, Batch]
) -> tuple[MultitaskModel, list[nn.Parameter], torch.optim.Optimizer]:
    device = next(iter(whole.values())).input_ids.device
    model = build_model(settings).to(device).train()
    trained = [p for p in model.parameters() if p.requires_grad]
    return model, trained, torch.optim.AdamW(trained, lr=1e-5, fused=True)


def torchjds(settings: RunConfig, whole: Mapping[str, Batch]) -> Callable[[], None]:
    """A step with torchjd's `autojac`: the Jacobian of all losses, then its aggregator."""
    model, trained, optimizer = _start(settings, whole)
    shared = list(model.shared_parameters().values())
    heads = [p for p in trained if not any(p is own for own in shared)]

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        losses = [model.row_losses(task, batch).mean() for task, batch in whole.items()]
        # One row after the other: in one go it takes `torch.vmap`, which dropout does not go with.
        autojac.backward(losses, inputs=trained, parallel_chunk_size=1)
        autojac.jac_to_grad(shared, PCGrad())
        for parameter in heads:
            parameter.grad = parameter.jac.sum(0)  # type: ignore[attr-defined]
            del parameter.jac  # type: ignore[attr-defined]
        optimizer.step()

    return step


def authors_port(settings: RunConfig, whole: Mapping[str, Batch]) -> Callable[[], None]:
    """A step as the authors' code and its port to torch have it: each task's gradient is cloned and flattened, heads included,
    and loops over tasks project it.
    """
    model, trained, optimizer = _start(settings, whole)

    def flat_gradient(loss: Tensor) -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad.clone()).flatten() for p in trained])

    def step() -> None:
        flat = [flat_gradient(model.row_losses(task, batch).mean()) for task, batch in whole.items()]
        projected = copy.deepcopy(flat)
        for own in projected:
            random.shuffle(flat)
            for other in flat:
                if (inner := torch.dot(own, other)) < 0:
                    own -= inner * other / other.norm() ** 2
        parts = torch.stack(projected).sum(0).split([p.numel() for p in trained])
        for parameter, part in zip(trained, parts, strict=True):
            parameter.grad = part.view_as(parameter)
        optimizer.step()

    return step


PEERS = {"autojac": torchjds, "authors' port": authors_port}
