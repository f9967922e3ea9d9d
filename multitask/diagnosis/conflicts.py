"""How two tasks' gradients get along, and how much of that is the noise of a batch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats
from torch import Tensor

from multitask.diagnosis.batch_size import batches_apart
from multitask.diagnosis.probe import Look

Values = np.ndarray


@dataclass(frozen=True)
class Pair:
    """Two tasks over M looks.

    `cosine`: mean cosine of their gradients, ± `error`, its standard error. `true_cosine`: what it would be with batches without end,
    None where a gradient is all noise. `rate`: share of looks with a cosine below 0; `both`: with one below 0 on both pairs of half
    batches, and `chance`, how often that would be if the halves had nothing to do with each other. `is_real`: whether the mean is
    below 0 at 5 %, all pairs together. `layers`: mean cosine in each block. `sign`: of the mean, 0 where it is not told at 5 % from 0, all pairs
    together. `rows`: of both tasks' batches; `sign_rows`: of batches of which 95 in 100 would show the mean's sign, at least so many where
    `sign` is 0, None where there is no mean.
    """

    first: str
    second: str
    looks: int
    cosine: float
    error: float
    true_cosine: float | None
    rate: float
    both: float
    chance: float
    is_real: bool
    layers: tuple[float, ...]
    sign: int
    rows: tuple[int, int]
    sign_rows: tuple[int, int] | None


@dataclass(frozen=True)
class TaskNoise:
    """A task's gradient over the looks.

    `norm`: median length. `noise`: share of its square that is the batch's noise. `rows`: of a batch; `balanced_rows`: of one in which noise
    and signal would be alike (McCandlish et al. 2018, "An Empirical Model of Large-Batch Training"), None where there is no signal.
    """

    task: str
    norm: float
    noise: float
    rows: int
    balanced_rows: int | None


def pairs(looks: Sequence[Look], tasks: Sequence[str]) -> list[Pair]:
    """Every pair of tasks that were trained in one step, most at odds first."""
    together = [
        (first, second)
        for number, first in enumerate(tasks)
        for second in tasks[number + 1 :]
        if sum(first in look.tasks and second in look.tasks for look in looks) > 1
    ]
    found = [_pair(first, second, looks, len(together)) for first, second in together]
    return sorted(found, key=lambda pair: pair.cosine)


def _pair(first: str, second: str, looks: Sequence[Look], tests: int) -> Pair:
    own = [look for look in looks if first in look.tasks and second in look.tasks]
    places = [(look.tasks.index(first), look.tasks.index(second)) for look in own]
    whole = np.array([_cosine(look.whole.sum(0), i, j) for look, (i, j) in zip(own, places, strict=True)])
    halves = np.array(
        [
            [_cosine(look.inner.sum(0)[half, half], i, j) for half in (0, 1)]
            for look, (i, j) in zip(own, places, strict=True)
        ]
    )
    layers = np.array(
        [[_cosine(block, i, j) for block in look.whole] for look, (i, j) in zip(own, places, strict=True)]
    )
    below = halves < 0
    error = float(whole.std(ddof=1) / len(whole) ** 0.5)
    # One-sided, by Bonferroni for all pairs together.
    limit = stats.t.ppf(1 - 0.05 / tests, len(whole) - 1)
    return Pair(
        first=first,
        second=second,
        looks=len(own),
        cosine=float(whole.mean()),
        error=error,
        true_cosine=_true_cosine(own, places),
        rate=float((whole < 0).mean()),
        both=float(below.all(1).mean()),
        chance=float(below[:, 0].mean() * below[:, 1].mean()),
        is_real=bool(whole.mean() < -limit * error),
        **_sign(own, places, whole.mean() / error if error > 0 else np.inf * np.sign(whole.mean()), tests),
        layers=tuple(np.nanmean(layers, 0).tolist()) if np.isfinite(layers).any(0).all() else _means(layers),
    )


def _sign(looks: Sequence[Look], places: Sequence[tuple[int, int]], t: float, tests: int) -> dict[str, Any]:
    """`sign`, `rows` and `sign_rows` of a pair whose mean cosine is `t` standard errors away from 0."""
    limit = float(stats.t.ppf(1 - 0.025 / tests, len(looks) - 1))
    known = abs(t) > limit
    products = np.array([float(look.whole.sum(0)[i, j]) for look, (i, j) in zip(looks, places, strict=True)])
    inner = float(products.mean())
    if not known:
        inner = abs(inner) + limit * float(products.std(ddof=1)) / len(products) ** 0.5
    rows = tuple(
        round(float(np.mean([look.rows[p[k]] for look, p in zip(looks, places, strict=True)]))) for k in (0, 1)
    )
    times = batches_apart(looks, places, inner)
    wanted = None if times is None else tuple(max(2, math.ceil(count * times)) for count in rows)
    return {"sign": int(np.sign(t)) if known else 0, "rows": rows, "sign_rows": wanted}


def _means(layers: Values) -> tuple[float, ...]:
    return tuple(float(np.mean(own[np.isfinite(own)])) if np.isfinite(own).any() else 0.0 for own in layers.T)


def _cosine(gramian: Tensor, i: int, j: int) -> float:
    scale = float(gramian[i, i] * gramian[j, j]) ** 0.5
    return float(gramian[i, j]) / scale if scale > 0 else float("nan")


def _true_cosine(looks: Sequence[Look], places: Sequence[tuple[int, int]]) -> float | None:
    """Inner products of gradients on different rows have no noise in their mean: neither ⟨gᵢ, gⱼ⟩ nor those of two halves of one task."""
    between = sum(float(look.whole.sum(0)[i, j]) for look, (i, j) in zip(looks, places, strict=True))
    first = sum(_signal(look, i) for look, (i, _) in zip(looks, places, strict=True))
    second = sum(_signal(look, j) for look, (_, j) in zip(looks, places, strict=True))
    if first <= 0 or second <= 0:
        return None
    return float(np.clip(between / (first * second) ** 0.5, -1, 1))


def _signal(look: Look, task: int) -> float:
    """⟨g¹, g²⟩ of the two halves: the square of the gradient's length without the noise of its batch, in the mean."""
    inner = look.inner.sum(0)
    return float(inner[0, 1, task, task] + inner[1, 0, task, task]) / 2


def noise(looks: Sequence[Look], tasks: Sequence[str]) -> list[TaskNoise]:
    """Every task that was trained at a look."""
    return [_noise(task, own) for task in tasks if (own := [look for look in looks if task in look.tasks])]


def _noise(task: str, looks: Sequence[Look]) -> TaskNoise:
    places = [look.tasks.index(task) for look in looks]
    squares = np.array([float(look.whole.sum(0)[i, i]) for look, i in zip(looks, places, strict=True)])
    signal = float(np.mean([_signal(look, i) for look, i in zip(looks, places, strict=True)]))
    rows = round(float(np.mean([look.rows[i] for look, i in zip(looks, places, strict=True)])))
    total = float(squares.mean())
    balanced = max(1, round(rows * (total - signal) / signal)) if signal > 0 else None
    return TaskNoise(
        task=task,
        norm=float(np.median(squares**0.5)),
        noise=float(np.clip(1 - signal / total, 0, 1)) if total > 0 else 0.0,
        rows=rows,
        balanced_rows=balanced,
    )
