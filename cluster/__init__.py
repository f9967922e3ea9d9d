"""Where it runs: workers, sharding, checkpoints, sweeps, jobs, tracking, export and the command line.

Contains none of the mathematics of learning; that is `multitask`.
"""
