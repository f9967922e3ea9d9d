"""Gradients that hypothesis draws."""

import torch
from hypothesis import strategies as st
from torch import Tensor


@st.composite
def gradients(draw: st.DrawFn, least: int = 3, most: int = 6, spread: float = 1.0) -> Tensor:
    """(K, P), linearly independent, norms over 2 · `spread` orders of magnitude."""
    size = draw(st.integers(least, most))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    rows = torch.randn(size, size + draw(st.integers(2, 8)), generator=generator, dtype=torch.float64)
    # A common part makes agreement or conflict the rule.
    common = draw(st.floats(-0.5, 1))
    signs = torch.tensor([1.0, -1.0] * size).double()[:size, None]
    rows = rows + common * (signs if common < 0 else 1) * rows[:1].clone()
    scales = [10 ** draw(st.floats(-spread, spread)) for _ in range(size)]
    return rows * torch.tensor(scales, dtype=torch.float64)[:, None]


@st.composite
def awkward(draw: st.DrawFn) -> Tensor:
    """(K, P) with zero, equal, opposite, dependent, huge and tiny rows; all finite and their squares, too."""
    rows = draw(gradients(least=2))
    for n in range(1, len(rows)):
        kind = draw(st.sampled_from(["own", "zero", "equal", "opposite", "dependent", "huge", "tiny"]))
        by = {"zero": 0.0, "huge": 1e8, "tiny": 1e-12}
        if kind in by:
            rows[n] *= by[kind]
        elif kind != "own":
            rows[n] = {"equal": rows[0], "opposite": -rows[0], "dependent": rows[:n].sum(0)}[kind]
    return rows * 10.0 ** draw(st.integers(-10, 10))
