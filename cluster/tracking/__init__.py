"""All of Weights & Biases; nothing else imports it.

A run as it trains: `tracker`, with `tracked_config` (what is sent of its config), `run_panels` (its charts), `conflict_panels` (those of gradients), `login` (online or
offline), `run_settings`, `resume_state` (what survives a restart) and `mirror` (where its folder is a URI). The sweep itself as a
run, and the winner's tag: `sweep_run`. What a killed or offline run left on disk: `fragments`, read by
`offline_log`, sent by `sync`. A sweep's dashboard: `workspace`, `workspace_panels`. A model sent: `publish`,
`model_artifact`. A sweep that W&B drives: `wandb_sweep`. From a user's word to run folders: `run_lookup`.
"""
