"""What a sweep searches: one module per search space.

Each gives `space()`, the parameters that Ray Tune draws from, and `to_config(base, sample)`, a validated run config.
"""
