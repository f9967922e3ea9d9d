"""The trajectory that every run must follow: one plain torch process on whole batches, written without our step.

Task gradients by autograd on the global batch, PCGrad as the paper's algorithm on the vectors themselves, and
`torch.optim.AdamW` on ordinary parameters.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from multitask.config import RunConfig
from multitask.data import Batch, prepare_tables
from multitask.keys import generator_key
from multitask.learning_rate import LearningRate
from multitask.model import MultitaskModel, build_model
from multitask.model.freezing import lowest_trained_layer
from multitask.sampling import Schedule
from multitask.work import WorkSource


def project_conflicts(gradients: list[torch.Tensor], seed: int, step: int) -> torch.Tensor:
    """Algorithm 1 of Yu et al. 2020 on gradient vectors (P,), with torchjd's order of draws."""
    generator = torch.Generator().manual_seed(generator_key(seed, "pcgrad", step))
    total = torch.zeros_like(gradients[0])
    for i, own in enumerate(gradients):
        projected = own.clone()
        for j in torch.randperm(len(gradients), generator=generator).tolist():
            if j != i:
                inner = projected @ gradients[j]
                if inner < 0:
                    projected -= inner / (gradients[j] @ gradients[j]) * gradients[j]
        total += projected
    return total


TaskLoss = Callable[[MultitaskModel, str, Batch, int], torch.Tensor]


def mean_row_loss(model: MultitaskModel, task: str, batch: Batch, step: int) -> torch.Tensor:
    """The mean loss of a whole global batch."""
    return model.row_losses(task, batch).mean()


def reference_trajectory(
    config: RunConfig,
    steps: int,
    task_loss: TaskLoss = mean_row_loss,
    make_optimizer: Callable[[MultitaskModel], torch.optim.Optimizer] | None = None,
) -> dict[str, torch.Tensor]:
    """Trainable parameters after `steps` steps; the config's accumulation is 1."""
    tables = prepare_tables(config)
    source = WorkSource(config, tables.train, tables.pad_id, 0, 1, together=False)
    schedule = Schedule(config, source.sizes())
    lr = LearningRate(config, schedule)
    model = build_model(config)
    model.train()
    optimizer = make_optimizer(model) if make_optimizer else _optimizer(model, config)
    every = model.shared_parameters()
    for step in range(steps):
        round = schedule.round(step)
        work = source.share(round)
        optimizer.zero_grad(set_to_none=True)
        lowest = lowest_trained_layer(config, model.number_of_layers, round.phase, schedule.epoch_in_phase(step))
        for name, parameter in every.items():
            parameter.requires_grad_(model.layer_of(name) >= lowest)
        shared = [parameter for parameter in every.values() if parameter.requires_grad]
        gradients, losses = [], []
        for batch in round.batches:
            [whole] = work.batches[batch.task]
            losses.append(task_loss(model, batch.task, whole.batch, step))
        losses = _summed_by_group(config, round.tasks, losses)
        if config.combination.name == "pcgrad" and len(losses) > 1 and shared:
            for loss in losses:
                own = torch.autograd.grad(loss, shared, retain_graph=True, allow_unused=True)
                gradients.append(_flatten(own, shared))
            torch.stack(losses).sum().backward()
            _unflatten(project_conflicts(gradients, config.seed, step), shared)
        else:
            torch.stack(losses).sum().backward()
        if config.training.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(
                [p for p in model.parameters() if p.grad is not None], config.training.clip_norm
            )
        for group in optimizer.param_groups:
            group["lr"] = lr.at(step) * group.get("scale", 1.0)
        optimizer.step()
    heads = [name for task in model.heads for name in model.head_parameters(task)]
    return {name: p.detach() for name, p in model.named_parameters() if name in every or name in heads}


def _summed_by_group(config: RunConfig, tasks: tuple[str, ...], losses: list[torch.Tensor]) -> list[torch.Tensor]:
    groups = getattr(config.combination, "groups", None) or [(task,) for task in tasks]
    named = dict(zip(tasks, losses, strict=True))
    return [sum(named[task] for task in group if task in named) for group in groups if set(group) & set(named)]  # type: ignore[misc]


def _optimizer(model: MultitaskModel, config: RunConfig) -> torch.optim.AdamW:
    decay, top = config.optimizer.layer_decay, model.number_of_layers + 1
    groups = [
        {
            "params": [parameter],
            "weight_decay": config.optimizer.weight_decay if parameter.dim() > 1 else 0.0,
            "scale": decay ** (top - model.layer_of(name)),
        }
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    ]
    return torch.optim.AdamW(groups, lr=config.optimizer.lr, betas=config.optimizer.betas, eps=config.optimizer.eps)


def _flatten(gradients: tuple[torch.Tensor | None, ...], like: list[torch.nn.Parameter]) -> torch.Tensor:
    return torch.cat(
        [(torch.zeros_like(p) if g is None else g).reshape(-1) for g, p in zip(gradients, like, strict=True)]
    )


def _unflatten(vector: torch.Tensor, parameters: list[torch.nn.Parameter]) -> None:
    start = 0
    for p in parameters:
        p.grad = vector[start : start + p.numel()].view_as(p).clone()
        start += p.numel()


def largest_difference(
    found: dict[str, np.ndarray], wanted: dict[str, torch.Tensor], start: Path | None = None
) -> float:
    """Largest |found − wanted| over all parameters, relative to the largest |wanted| of each."""
    assert set(found) == set(wanted)
    return max(
        float(np.abs(found[n] - w.numpy().reshape(-1)).max() / np.abs(w.numpy()).max()) for n, w in wanted.items()
    )
