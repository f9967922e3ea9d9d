"""How W&B's library works for us."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import wandb

INIT_TIMEOUT_S = 30.0
FINISH_TIMEOUT_S = 300.0


def run_settings(sweep_id: str | None = None) -> "wandb.Settings":
    """The settings of a run, of W&B's own sweep `sweep_id` if given.

    Statistics and metadata are of this process's machine, its command line and its user: not of the workers.
    """
    import wandb

    settings = wandb.Settings(
        console="off",
        silent=True,
        init_timeout=INIT_TIMEOUT_S,
        finish_timeout=FINISH_TIMEOUT_S,
        x_disable_stats=True,
        x_disable_meta=True,
        x_save_requirements=False,
        disable_git=True,
        disable_code=True,
        x_transaction_log_flush_interval=1,
    )
    if sweep_id is not None:
        settings.sweep_id = sweep_id
    return settings
