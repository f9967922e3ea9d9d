"""Losses written straight from the papers, with torch.autograd and Hugging Face's own arguments."""

import torch
from torch.distributions import Bernoulli, Categorical, kl_divergence

from multitask.config import RunConfig
from multitask.data import Batch
from multitask.model import MultitaskModel
from multitask.objectives import row_noise


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


def plain_smart(model: MultitaskModel, config: RunConfig, task: str, batch: Batch, step: int) -> torch.Tensor:
    """SMART's algorithm 1: noise, adversarial ascent, and the term with the noise of AFTER the last adversarial step."""
    smart = config.regularization.smart
    assert smart is not None
    noise = row_noise(batch, 32, smart.noise, config.seed, "smart", step, task)
    clean = plain_outputs(model, task, batch, torch.zeros_like(noise))
    for _ in range(smart.steps):
        noise.requires_grad_()
        distance = plain_divergence(task, plain_outputs(model, task, batch, noise), clean.detach()).sum()
        ascent = torch.autograd.grad(distance, noise)[0]
        sizes = ascent.abs().max(-1, keepdim=True).values
        noise = (noise + smart.step_size * torch.where(sizes > 0, ascent / sizes, ascent)).detach()
    return smart.weight * plain_divergence(task, plain_outputs(model, task, batch, noise), clean)
