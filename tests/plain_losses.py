"""Losses written straight from the papers, with torch.autograd and Hugging Face's own arguments."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch.distributions import Bernoulli, Categorical, kl_divergence
from torch.nn import functional

from multitask.config import RunConfig
from multitask.config.regularization import Smart
from multitask.data import Batch
from multitask.model import MultitaskModel
from multitask.objectives import row_noise

Masks = Callable[[], AbstractContextManager[object]]
Outputs = Callable[[torch.Tensor], torch.Tensor]


def plain_outputs(model: MultitaskModel, task: str, batch: Batch, noise: torch.Tensor) -> torch.Tensor:
    """Raw outputs from disturbed word embeddings, by Hugging Face's own argument and the head's linear layer."""
    encoder = model.encoder.model
    embedded = encoder.embeddings.word_embeddings(batch.input_ids) + noise
    hidden = encoder(inputs_embeds=embedded, attention_mask=batch.attention_mask, token_type_ids=batch.token_type_ids)
    mask = batch.attention_mask[:, :, None].float()
    pooled = (hidden.last_hidden_state * mask).sum(1) / mask.sum(1)
    return model.head(task)(pooled)


def plain_divergence(task: str, p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    if task == "sts":
        return (5 * p[:, 0].sigmoid() - 5 * q[:, 0].sigmoid()) ** 2
    one, other = (
        (Categorical(logits=p), Categorical(logits=q))
        if task == "sst"
        else (Bernoulli(logits=p[:, 0]), Bernoulli(logits=q[:, 0]))
    )
    return kl_divergence(one, other) + kl_divergence(other, one)


def plain_smart(
    model: MultitaskModel, config: RunConfig, task: str, batch: Batch, step: int, masks: Masks = nullcontext
) -> torch.Tensor:
    """SMART's algorithm 1, or MT-DNN's code: noise, adversarial steps, and the term with the noise AFTER the last of them.

    `masks`: a context for each pass, in which the same dropout is drawn.
    """
    smart = config.regularization.smart
    assert smart is not None

    def outputs(noise: torch.Tensor) -> torch.Tensor:
        with masks():
            return plain_outputs(model, task, batch, noise)

    noise = row_noise(batch, 32, smart.noise, config.seed, "smart", step, task)
    clean = outputs(torch.zeros_like(noise))
    ascend, train = (_mt_dnn_step, _mt_dnn_term) if smart.adversary == "mt_dnn" else (_ascent, plain_divergence)
    for _ in range(smart.steps):
        noise = ascend(task, outputs, noise.detach().requires_grad_(), clean.detach(), smart).detach()
    return smart.weight * train(task, outputs(noise), clean)


def _ascent(task: str, outputs: Outputs, noise: torch.Tensor, clean: torch.Tensor, smart: Smart) -> torch.Tensor:
    ascent = torch.autograd.grad(plain_divergence(task, outputs(noise), clean).sum(), noise)[0]
    norms = _norms(ascent, len(clean), smart)
    moved = noise + smart.step_size * torch.where(norms > 0, ascent / norms, ascent)
    return moved if smart.radius is None else moved.clamp(min=-smart.radius).clamp(max=smart.radius)


def _norms(noise: torch.Tensor, rows: int, smart: Smart) -> torch.Tensor:
    """The ∞-norm of each token, or of each row over its sequences, which stand `rows` apart."""
    norms = torch.empty_like(noise)
    for sequence, own in enumerate(noise):
        if smart.norm_level == "row":
            norms[sequence] = torch.linalg.vector_norm(noise[sequence % rows :: rows], ord=float("inf"))
        else:
            norms[sequence] = torch.linalg.vector_norm(own, ord=float("inf"), dim=-1, keepdim=True)
    return norms


def _two_logits(task: str, raw: torch.Tensor) -> torch.Tensor:
    """MT-DNN has a logit for each class, ours for yes or no a single one."""
    return torch.cat([torch.zeros_like(raw), raw], dim=-1) if task == "quora" else raw


def _mt_dnn_step(task: str, outputs: Outputs, noise: torch.Tensor, clean: torch.Tensor, smart: Smart) -> torch.Tensor:
    """`SmartPerturbation.forward` of microsoft's MT-DNN: what is divided is the moved noise."""
    raw = outputs(noise)
    if task == "sts":
        loss = functional.mse_loss(5 * raw.sigmoid(), 5 * clean.sigmoid(), reduction="sum")
    else:
        p, y = _two_logits(task, raw).softmax(-1), _two_logits(task, clean).softmax(-1)
        log_odds = [(1 / (x.detach() + 1e-6) - 1 + 1e-6).log() for x in (p, y)]
        loss = 2 * (p * (log_odds[1] - log_odds[0])).sum()
    moved = noise.detach() + smart.step_size * torch.autograd.grad(loss, noise)[0]
    return moved / (_norms(moved, len(clean), smart) + 1e-6)


def _mt_dnn_term(task: str, moved: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """Its `SymKlCriterion`, or squared error."""
    if task == "sts":
        return plain_divergence(task, moved, clean)
    p, q = _two_logits(task, clean).log_softmax(-1), _two_logits(task, moved).log_softmax(-1)
    one, other = (functional.kl_div(a, b.exp().detach(), reduction="none").sum(-1) for a, b in ((p, q), (q, p)))
    return one + other
