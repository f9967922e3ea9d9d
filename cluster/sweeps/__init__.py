"""Many trials of one recipe, searched with Ray Tune, in a folder that can be read and gone on with.

Read `search` (recipe and space), `options` and `records` (a sweep in plain values), `store` (its files), `create` (plan a new
sweep or reopen one), `plan` (equal rows for all trials), `trials` (the ledger of trials and their transitions) with
`run_history` (what their run folders know), `samplers`, `told` and `optuna_samplers` with `nsga2`, `cma_es` and `sobol` (which
configuration comes next), then `run_sweep`, `driver` and `driver_callback` (Ray Tune runs the trials) with `concurrency`,
`tune_searcher`, `schedulers`, `population`, `trial_actor`, `trial_failures` (whose fault it was), `sweep_board`, `standing` and
`trial_checkpoints` (what is kept) and `cleanup`; `status` tells how a sweep stands, `speed_probe` how long it will take, `points`
takes in what the user wants tried.
"""
