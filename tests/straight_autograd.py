"""The trajectory of a training, written without the project's step: autograd on whole batches, the papers' algorithms on vectors."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.nn import functional

from multitask.config import RunConfig, parse_config
from multitask.config.combination import PCGrad
from multitask.config.loss import CoSENT
from multitask.data import Batch, prepare_tables
from multitask.keys import generator_key
from multitask.learning_rate import LearningRate
from multitask.model import MultitaskModel, build_model
from multitask.sampling import Schedule
from multitask.work import WorkSource
from tests.plain_losses import plain_divergence, plain_smart

TaskLoss = Callable[[MultitaskModel, str, Batch, int], torch.Tensor]
MakeOptimizers = Callable[[MultitaskModel], Mapping[str | None, torch.optim.Optimizer]]


def project_conflicts(gradients: list[torch.Tensor], seed: int, step: int) -> torch.Tensor:
    """Algorithm 1 of Yu et al. 2020 on gradient vectors (P,), with torchjd's order of draws: the projected gradients (K, P)."""
    generator = torch.Generator().manual_seed(generator_key(seed, "pcgrad", step))
    every = []
    for i, own in enumerate(gradients):
        projected = own.clone()
        for j in torch.randperm(len(gradients), generator=generator).tolist():
            inner = projected @ gradients[j]
            if j != i and inner < 0:
                projected -= inner / (gradients[j] @ gradients[j]) * gradients[j]
        every.append(projected)
    return torch.stack(every)


def surgery(
    config: RunConfig, losses: Mapping[str, torch.Tensor], parameters: list[torch.nn.Parameter], step: int
) -> list[torch.Tensor]:
    """The gradient of each of `parameters`: zeros where a loss has none; a mean is of those that every loss has (Tseng's port)."""
    assert isinstance(config.combination, PCGrad)
    groups = config.combination.groups or [(task,) for task in losses]
    own = [sum((losses[task] for task in group), start=torch.zeros(())) for group in groups]
    found = [torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True) for loss in own]
    projected = project_conflicts([_flat(gradients, parameters) for gradients in found], config.seed, step)
    combined = list(projected.sum(0).split([p.numel() for p in parameters]))
    if config.combination.reduction == "mean":
        has_all = [all(gradients[n] is not None for gradients in found) for n in range(len(parameters))]
        combined = [part / len(groups) if mean else part for part, mean in zip(combined, has_all, strict=True)]
    return [part.view_as(p) for part, p in zip(combined, parameters, strict=True)]


def straight_losses(config: RunConfig) -> TaskLoss:
    """The loss of a whole batch, written from the papers."""
    average: dict[str, Any] = {"followed": 0}

    def loss(model: MultitaskModel, task: str, batch: Batch, step: int) -> torch.Tensor:
        kind, terms = config.tasks[task].kind, config.regularization
        if kind.name == "contrastive":
            texts = model.encoder(batch.input_ids, batch.attention_mask, batch.token_type_ids).unflatten(0, (2, -1))
            one, other = functional.normalize(texts[0], dim=-1), functional.normalize(texts[1], dim=-1)
            return functional.cross_entropy(one @ other.T / kind.temperature, torch.arange(len(one)))
        if isinstance(config.tasks[task].loss, CoSENT):
            one, other = model.encoder(batch.input_ids, batch.attention_mask, batch.token_type_ids).chunk(2)
            scores = 20 * functional.cosine_similarity(one, other)
            above = batch.labels[:, None] > batch.labels[None, :]
            return torch.log1p(torch.exp(scores[None, :] - scores[:, None])[above].sum())
        total = model.row_losses(task, batch)
        if terms.smart is not None:
            total = total + plain_smart(model, config, task, batch, step)
        if terms.bregman is not None:
            teacher = _average(average, config, model, terms.bregman.momentum, step)  # in these cases β is one number
            with torch.no_grad():
                taught = teacher(task, batch)
            total = total + terms.bregman.weight * plain_divergence(task, model(task, batch), taught)
        return total.mean()

    return loss


def _average(
    kept: dict[str, Any], config: RunConfig, model: MultitaskModel, momentum: float, step: int
) -> MultitaskModel:
    """The running average of the weights after `step` updates; asked for in every step."""
    teacher: MultitaskModel = kept.setdefault("model", build_model(config).eval())
    if kept["followed"] < step:
        kept["followed"] = step
        with torch.no_grad():
            for own, p in zip(teacher.parameters(), model.parameters(), strict=True):
                own.copy_(momentum * own + (1 - momentum) * p)
    return teacher


def straight_trajectory(
    tree: dict[str, Any], steps: int, make_optimizers: MakeOptimizers | None = None
) -> dict[str, torch.Tensor]:
    """Trained parameters after `steps` steps of autograd and an optimizer on ordinary parameters, torch's AdamW if not given.

    `make_optimizers`: the model to its optimizers, one for each task, or one for all under None.
    """
    config = parse_config(tree, "test")
    tables = prepare_tables(config)
    source = WorkSource(config, tables.train, tables.pad_id, 0, 1, all_tasks=False)
    schedule = Schedule(config, source.sizes())
    rate, model, task_loss = LearningRate(config, schedule), build_model(config).train(), straight_losses(config)
    optimizers = make_optimizers(model) if make_optimizers else {None: _adamw(model, config)}
    shared = list(model.shared_parameters().values())
    for step in range(steps):
        work = source.share(schedule.round(step))
        optimizer = optimizers[work.round.tasks[0] if len(optimizers) > 1 else None]
        losses = {}
        for task in work.round.tasks:
            [whole] = work.batches[task]
            losses[task] = task_loss(model, task, whole.batch, step)
        weights = getattr(config.combination, "loss_weights", dict.fromkeys(losses, 1.0))
        model.zero_grad(set_to_none=True)
        total = torch.stack([weights[task] * loss for task, loss in losses.items()]).sum()
        total.backward(retain_graph=True)
        if config.combination.name == "pcgrad":
            heads = [p for task in losses for p in model.head_parameters(task).values()]
            projected = shared + heads if config.combination.scope == "all" else shared
            for p, gradient in zip(projected, surgery(config, losses, projected, step), strict=True):
                p.grad = gradient.clone()
        if config.training.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(list(model.parameters()), config.training.clip_norm)
        for group in optimizer.param_groups:
            group["lr"] = rate.at(step) * group.get("scale", 1.0)
        optimizer.step()
    return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}


def _flat(gradients: Any, like: list[torch.nn.Parameter]) -> torch.Tensor:
    every = [torch.zeros_like(p) if g is None else g for g, p in zip(gradients, like, strict=True)]
    return torch.cat([g.reshape(-1) for g in every])


def _adamw(model: MultitaskModel, config: RunConfig) -> torch.optim.AdamW:
    layers = {name: model.layer_of(name) for name, p in model.named_parameters() if p.requires_grad}
    groups = [
        {
            "params": [p],
            "weight_decay": config.optimizer.weight_decay if p.dim() > 1 else 0.0,
            "scale": config.optimizer.layer_decay ** (3 - layers[name]),
        }
        for name, p in model.named_parameters()
        if p.requires_grad
    ]
    return torch.optim.AdamW(groups, lr=config.optimizer.lr, betas=config.optimizer.betas, eps=config.optimizer.eps)
