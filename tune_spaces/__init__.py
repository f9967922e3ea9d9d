"""What a sweep searches: one module per search space.

Each gives `space(base)`, names of parameters to what Ray Tune draws from, and, where dotted keys are not enough,
`to_config(base, values)`, a validated run config. A module may also have `allowed(base, values)`, whether constraints hold,
`POINTS` or `points(base)`, samples to try first, and `MUTABLE`, parameters that a population may change. `tune_spaces.core` holds what they have
in common.
"""

from tune_spaces.core import Parameter, Space, check_space, open_space, shipped_spaces

__all__ = ["Parameter", "Space", "check_space", "open_space", "shipped_spaces"]
