"""Whether W&B's server can be used now, and as whom."""

from cluster.tracking.mode import choose_mode, why_not_online
from multitask.errors import UserError

TIMEOUT_S = 10


def sign_in(remains: str) -> str:
    """The user's default entity, from the server itself.

    `remains` says what is to be done later; it ends the message of the error.

    Raises:
        UserError: nobody is logged in, the server cannot be reached, or it refuses the key.
    """
    if choose_mode("online") != "online":
        raise UserError(f"W&B: not logged in (`wandb login`); {remains}")
    import wandb

    try:
        return str(wandb.Api(timeout=TIMEOUT_S).default_entity)
    except Exception as error:
        raise UserError(f"W&B: {why_not_online(error)}; {remains}") from None
