"""Where the gradients of a rank's micro-batches go."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from cluster.step.exchange import GradientExchange
from cluster.step.layout import TrainedParameters
from multitask.device import tf32_products
from multitask.model import TokenGradient

EmbeddedTokens = list[tuple[Tensor, Tensor]]
# Task and shared parameter to a factor of what the task adds to its gradient.
SharedFactors = Mapping[str, Mapping[str, float]]


class GradientWriter:
    """Gives task gradients to the exchange, those of shared parameters as soon as they are there.

    `factors`: of the gradients of shared parameters; all 1 if None. `tf32`: in what they flow back on a GPU.
    """

    def __init__(
        self, trained: TrainedParameters, exchange: GradientExchange, factors: SharedFactors | None, tf32: bool = False
    ) -> None:
        self._trained, self._exchange, self._factors, self._tf32 = trained, exchange, factors, tf32
        self._embedded: dict[int, EmbeddedTokens] = {}

    @contextmanager
    def recording(self, ids: Tensor) -> Iterator[EmbeddedTokens]:
        """Collects the embedded tokens of the forward passes inside, to be given to `backward`; `ids`: theirs, on the host."""
        if self._trained.tap is None:
            yield []
        else:
            with self._trained.tap.record(ids) as tokens:
                yield tokens

    def backward(self, task: str, group: int, output: Tensor, gradient: Tensor | None, tokens: EmbeddedTokens) -> None:
        """Add the gradients of `output` (of its product with `gradient`, where that is given) to that of `group`."""
        with self._exchange.receiving(group) as take:
            if output.requires_grad:
                with self._hooks(task, take):
                    self._differentiate(task, group, output, gradient, tokens)

    def _differentiate(
        self, task: str, group: int, output: Tensor, gradient: Tensor | None, tokens: EmbeddedTokens
    ) -> None:
        shared, head = self._trained.shared, self._trained.heads[task]
        inputs = [*head.values(), *(leaf for _, leaf in tokens), *shared.values()]
        with tf32_products(self._tf32):
            found = torch.autograd.grad(output, inputs, gradient, allow_unused=True)
        self._exchange.add_heads(task, dict(zip(head, found, strict=False)))
        tap = self._trained.tap_name
        factor = None if self._factors is None or tap is None else self._factors[task][tap]
        for (ids, _), own in zip(tokens, found[len(head) :], strict=False):
            if own is not None:
                self._embedded.setdefault(group, []).append((ids, own if factor is None else own * factor))

    @contextmanager
    def _hooks(self, task: str, take: Callable[[str, Tensor], None]) -> Iterator[None]:
        """Gradients of shared parameters that come inside are taken, and what autograd keeps of them needs no memory."""
        factors = None if self._factors is None else self._factors[task]

        def hook(name: str) -> Callable[[Tensor], Tensor]:
            def taken(gradient: Tensor) -> Tensor:
                take(name, gradient if factors is None else gradient * factors[name])
                return gradient.new_empty(()).expand_as(gradient)

            return taken

        handles = [parameter.register_hook(hook(name)) for name, parameter in self._trained.shared.items()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def token_gradients(self) -> dict[int, TokenGradient]:
        """Group to its gradient of the token embedding; without the groups that have none."""
        tap = self._trained.tap
        if tap is None:
            return {}
        return {group: tap.gradient(*map(list, zip(*e, strict=True))) for group, e in self._embedded.items() if e}
