"""The plain trainer beside straight autograd on whole batches, PCGrad on vectors, and torch's own AdamW."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from multitask.config import RunConfig, parse_config
from multitask.data import Batch, prepare_tables
from multitask.keys import generator_key
from multitask.learning_rate import LearningRate
from multitask.model import MultitaskModel, build_model
from multitask.sampling import Schedule
from multitask.work import WorkSource
from tests.builders import merge, tiny_config
from tests.distributed.one_process import plain_trajectory
from tests.plain_losses import plain_divergence, plain_smart

STEPS = 4
TaskLoss = Callable[[MultitaskModel, str, Batch, int], torch.Tensor]
CASES: dict[str, dict[str, Any]] = {
    "sum": {"combination": {"name": "sum"}},
    "pcgrad": {},
    "groups": {"combination": {"name": "pcgrad", "groups": [["sst", "sts"], ["quora"]]}},
    "weights": {"combination": {"name": "weights", "weights": {"sst": 0.5, "quora": 2.0, "sts": 1.0}}},
    "one task a step": {"combination": {"name": "sum"}, "phases": [{"sampling": {"name": "sequential"}}]},
    "no clipping": {"training": {"clip_norm": None}},
    "frozen": {"combination": {"name": "sum"}, "phases": [{"encoder": "frozen"}]},
    "layer decay": {"optimizer": {"layer_decay": 0.5}},
    "smart": {"regularization": {"smart": {"weight": 2.0, "noise": 0.01, "step_size": 0.05}}},
    "bregman": {"regularization": {"bregman": {"weight": 1.0, "momentum": 0.5}}},
    "contrastive": {
        "tasks": {
            "ranking": {
                "kind": {"name": "contrastive", "temperature": 0.1},
                "columns": {"id": "id", "text": "sentence1", "text_pair": "sentence2"},
                "files": {"train": ["quora-train.csv"]},
                "format": "cs224n",
                "batch_size": 7,
            }
        }
    },
}


def _tree(folder: Path, bert: Path, changes: dict[str, Any]) -> dict[str, Any]:
    base = tiny_config(
        folder,
        encoder={"name": str(bert)},
        training={"clip_norm": 1.0},
        # Adam divides rounding errors by their own size where a gradient is zero; eps keeps them small.
        optimizer={"name": "adamw", "lr": 1e-3, "eps": 1e-4},
    )
    return merge(base, changes)


def project_conflicts(gradients: list[torch.Tensor], seed: int, step: int) -> torch.Tensor:
    """Algorithm 1 of Yu et al. 2020 on gradient vectors (P,), with torchjd's order of draws."""
    generator = torch.Generator().manual_seed(generator_key(seed, "pcgrad", step))
    total = torch.zeros_like(gradients[0])
    for i, own in enumerate(gradients):
        projected = own.clone()
        for j in torch.randperm(len(gradients), generator=generator).tolist():
            inner = projected @ gradients[j]
            if j != i and inner < 0:
                projected -= inner / (gradients[j] @ gradients[j]) * gradients[j]
        total += projected
    return total


def straight_losses(config: RunConfig) -> TaskLoss:
    """The loss of a whole batch, written from the papers."""
    average: dict[str, Any] = {"followed": 0}

    def loss(model: MultitaskModel, task: str, batch: Batch, step: int) -> torch.Tensor:
        kind, terms = config.tasks[task].kind, config.regularization
        if kind.name == "contrastive":
            texts = model.encoder(batch.input_ids, batch.attention_mask, batch.token_type_ids).unflatten(0, (2, -1))
            one, other = functional.normalize(texts[0], dim=-1), functional.normalize(texts[1], dim=-1)
            return functional.cross_entropy(one @ other.T / kind.temperature, torch.arange(len(one)))
        total = model.row_losses(task, batch)
        if terms.smart is not None:
            total = total + plain_smart(model, config, task, batch, step)
        if terms.bregman is not None:
            teacher = _average(average, config, model, terms.bregman.momentum, step)
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


def straight_trajectory(tree: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Trained parameters after `STEPS` steps of autograd and torch's AdamW on ordinary parameters."""
    config = parse_config(tree, "test")
    tables = prepare_tables(config)
    source = WorkSource(config, tables.train, tables.pad_id, 0, 1, all_tasks=False)
    schedule = Schedule(config, source.sizes())
    rate, model, task_loss = LearningRate(config, schedule), build_model(config).train(), straight_losses(config)
    optimizer = _adamw(model, config)
    shared = list(model.shared_parameters().values())
    for step in range(STEPS):
        work = source.share(schedule.round(step))
        losses = {}
        for task in work.round.tasks:
            [whole] = work.batches[task]
            losses[task] = task_loss(model, task, whole.batch, step)
        weights = getattr(config.combination, "weights", dict.fromkeys(losses, 1.0))
        optimizer.zero_grad(set_to_none=True)
        total = torch.stack([weights[task] * loss for task, loss in losses.items()]).sum()
        total.backward(retain_graph=True)
        if config.combination.name == "pcgrad":
            groups = config.combination.groups or [(task,) for task in losses]
            own = [sum(losses[task] for task in group) for group in groups]
            vectors = [_flat(torch.autograd.grad(x, shared, retain_graph=True, allow_unused=True), shared) for x in own]
            combined = project_conflicts(vectors, config.seed, step)
            for p, part in zip(shared, combined.split([p.numel() for p in shared]), strict=True):
                p.grad = part.view_as(p).clone()
        if config.training.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(list(model.parameters()), config.training.clip_norm)
        for group in optimizer.param_groups:
            group["lr"] = rate.at(step) * group["scale"]
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
    return torch.optim.AdamW(groups, lr=1e-3, betas=config.optimizer.betas, eps=config.optimizer.eps)


@pytest.mark.parametrize("case", CASES)
def test_trainer_equals_straight_autograd(case: str, folder: Path, tiny_bert: Path) -> None:
    tree = _tree(folder, tiny_bert, CASES[case])
    found, wanted = plain_trajectory(tree, STEPS), straight_trajectory(tree)
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        error = (found[name] - value).abs().max().item()
        assert error <= 1e-5 * value.abs().max().item() + 2e-7, f"{name}: {error:.2e}"


def test_every_case_ends_elsewhere_than_the_sum(folder: Path, tiny_bert: Path) -> None:
    """A step that forgets to project, or a term, would be seen."""
    ends = {
        case: straight_trajectory(_tree(folder, tiny_bert, CASES[case]))
        for case in ("sum", "pcgrad", "groups", "smart", "bregman")
    }
    name = "encoder.model.encoder.layer.1.output.dense.weight"
    for case in ("pcgrad", "groups"):
        assert (ends[case][name] - ends["sum"][name]).abs().max() > 1e-4, case
    for case in ("smart", "bregman"):
        assert (ends[case][name] - ends["pcgrad"][name]).abs().max() > 1e-4, case
