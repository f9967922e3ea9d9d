"""Optimizers of the package pytorch_optimizer, by name.

ZeRO hands an optimizer one flat shard of each group. That is right for optimizers that treat every element by itself,
and silently wrong for those that look at a whole tensor (the trust ratio of LAMB, the matrix of Muon).
"""

import difflib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from multitask.config.training import LibraryOptimizer
from multitask.errors import UserError

# Verified by a test; others may well be, but nothing is lost by stepping them on whole tensors but time.
ELEMENTWISE = frozenset({"adam", "adamax", "adamw", "qhadam", "radam", "nadam", "lion", "adabelief"})
_PLAIN_OPTIONS = frozenset({"betas", "eps", "nus", "weight_decouple"})
# Rates beside `lr`, and settings of weight decay, among the arguments of the library's classes.
_OTHER_RATES = ("adamw_lr", "lr_1d", "final_lr")
_DECAYS = (
    "weight_decouple",
    "decoupled_weight_decay",
    "fixed_decay",
    "stable_weight_decay",
    "weight_decay_type",
    "weight_decay_1d",
)
_PROBE_STEPS = 12
_REASONS = {
    "dadapt": "estimates one step size from all tensors, but they are stepped apart on their shards",
    "prodigy": "estimates one step size from all tensors, but they are stepped apart on their shards",
    "stablespam": "keeps a step count where no checkpoint finds it",
    "schedulefree": "must be told when the model is evaluated, with other weights than those it trains",
}


def is_elementwise(config: LibraryOptimizer) -> bool:
    """Whether the optimizer treats every element by itself, whatever tensor it lies in."""
    return config.name in ELEMENTWISE and set(config.options) <= _PLAIN_OPTIONS


def build_library_optimizer(
    groups: list[dict[str, Any]], config: LibraryOptimizer, *, mixin: type | None = None
) -> torch.optim.Optimizer:
    """The optimizer of `config` over `groups`, `mixin` before its class."""
    base = _optimizer_class(config.name)
    kind = type(base.__name__, (mixin, base), {}) if mixin else base
    built: torch.optim.Optimizer = kind(groups, lr=config.lr, **_options(config))
    return built


def check_library_optimizer(config: LibraryOptimizer) -> None:
    """Refuse what cannot be used, by trying it on a small problem.

    Raises:
        UserError: there is no such optimizer or option; it needs more than gradients; it ties tensors together, so that
            shards cannot be stepped apart; it draws at random, or its state cannot be saved; it has a rate of its own.
    """
    from pytorch_optimizer import get_supported_optimizers

    names = sorted(get_supported_optimizers())
    if config.name not in names:
        close = difflib.get_close_matches(config.name, ["adamw", *names], n=1, cutoff=0.5)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise UserError(f"optimizer.name: pytorch_optimizer has no {config.name!r}{hint} (it has {', '.join(names)})")
    for start, reason in _REASONS.items():
        if config.name.startswith(start):
            raise UserError(f"optimizer.name: {config.name} {reason}")
    _check_options(config)
    try:
        together, again = _probe(config, [0, 1]), _probe(config, [0, 1])
        apart = [*_probe(config, [0]), *_probe(config, [1])]
    except UserError:
        raise
    except Exception as error:
        # Whose fault it is shows without the options.
        key = "options" if config.options and _works(config.model_copy(update={"options": {}})) else "name"
        raise UserError(f"optimizer.{key}: {config.name} cannot be used so: {_first_line(error)}") from None
    if not _equal(together, again):
        raise UserError(f"optimizer.name: {config.name} draws at random, so ranks and resumed runs would differ")
    if not _equal(together, apart):
        raise UserError(
            f"optimizer.name: {config.name} ties all tensors together, but they are stepped apart on their shards"
        )
    if not all(map(torch.equal, _probe(config, [0, 1], lr=0.0), _start())):
        raise UserError(
            f"optimizer.name: {config.name} moves weights at a learning rate of 0, so it does not follow optimizer.lr; "
            f"its options: {', '.join(_own_arguments(config.name))}"
        )


def _check_options(config: LibraryOptimizer) -> None:
    known = _own_arguments(config.name)
    for option in config.options:
        if option not in known:
            raise UserError(f"optimizer.options.{option}: {config.name} has no such option; valid: {', '.join(known)}")
        if option in _DECAYS and config.decay == "decoupled":
            raise UserError(
                f"optimizer.options.{option} has no effect with optimizer.decay=decoupled: leave it out, or say optimizer.decay=library"
            )


def adamw_rate(config: LibraryOptimizer) -> float | None:
    """Peak rate of what does not go by Muon's rule; None for optimizers that treat all tensors alike."""
    rate: float | None = _options(config).get("adamw_lr")
    return rate


def _optimizer_class(name: str) -> Any:
    from pytorch_optimizer import load_optimizer

    return load_optimizer(name)


def _arguments(name: str) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(_optimizer_class(name).__init__).parameters


def _own_arguments(name: str) -> list[str]:
    """Arguments of the class that `options` may give."""
    return [own for own in _arguments(name) if own not in ("self", "params", "lr", "weight_decay", "kwargs")]


def _options(config: LibraryOptimizer) -> dict[str, Any]:
    """What the class is given beside groups and rate.

    Lists of YAML as the tuples that the classes expect; our order of summation, on any device; rates that follow
    `optimizer.lr`; no weight decay where it is ours.
    """
    options = {key: tuple(value) if isinstance(value, list) else value for key, value in config.options.items()}
    arguments = _arguments(config.name)
    for name in _OTHER_RATES:
        if name in arguments:
            options.setdefault(name, config.lr * arguments[name].default / arguments["lr"].default)
    if "weight_decay_1d" in arguments and config.decay == "decoupled":
        options["weight_decay_1d"] = 0.0
    if "foreach" in arguments:
        options.setdefault("foreach", False)
    return options


def _start() -> list[torch.Tensor]:
    """The two tensors that are tried."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(6, 4, generator=generator), torch.randn(5, generator=generator)]


def _probe(config: LibraryOptimizer, tensors: Sequence[int], lr: float | None = None) -> list[torch.Tensor]:
    """Two tensors, or one of them, after some steps along fixed gradients, at the config's rate if `lr` is not given."""
    start, generator = _start(), torch.Generator().manual_seed(1)
    gradients = [[torch.randn(t.shape, generator=generator) for t in start] for _ in range(_PROBE_STEPS)]
    parameters = [nn.Parameter(start[i].clone()) for i in tensors]
    own = {"use_muon": False} if adamw_rate(config) is not None else {}
    decay = 0.0 if config.decay == "decoupled" else 0.01
    optimizer = build_library_optimizer([{"params": parameters, "weight_decay": decay, **own}], config)
    if lr is not None:
        for group in optimizer.param_groups:
            group["lr"] = lr
    fixed = set(optimizer.param_groups[0])
    for step in gradients:
        for parameter, i in zip(parameters, tensors, strict=True):
            parameter.grad = step[i].clone()
        optimizer.step()
    _check_state(config, optimizer, fixed)
    return [p.detach() for p in parameters]


def _works(config: LibraryOptimizer) -> bool:
    try:
        _probe(config, [0])
    except Exception:
        return False
    return True


def _check_state(config: LibraryOptimizer, optimizer: torch.optim.Optimizer, fixed: set[str]) -> None:
    values = [value for state in optimizer.state.values() for value in state.values()]
    grown = [value for key, value in optimizer.param_groups[0].items() if key not in fixed]
    for value in [*values, *grown]:
        if not isinstance(value, torch.Tensor | float | int):
            raise UserError(
                f"optimizer.name: {config.name} keeps a {type(value).__name__}, which a checkpoint cannot hold"
            )


def _equal(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return all(torch.allclose(a, b, rtol=1e-5, atol=1e-7) for a, b in zip(first, second, strict=True))


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
