"""Whether to track online, found out without the network, and as whom, from W&B's server."""

import netrc
import os
import re
import socket
import sys
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from cluster.training.observer import one_line
from multitask.errors import UserError

PUBLIC_HOSTS = ("api.wandb.ai", "api.forge.coreweave.com")
TIMEOUT_S = 10
_LOG_IN = "`wandb login` there, or WANDB_API_KEY in its environment, or tracking.mode=offline"
Mode = Literal["online", "offline", "disabled", "missing"]


def choose_mode(configured: str) -> Mode:
    """The mode for `tracking.mode`; `missing` stands for an online run that nobody is logged in for.

    `auto` follows the environment's `WANDB_MODE` if there is one, else it is online where the user is logged in and offline
    otherwise.
    """
    mode = os.environ.get("WANDB_MODE") or "auto" if configured == "auto" else configured
    if mode in ("offline", "dryrun"):
        return "offline"
    if mode == "disabled":
        return "disabled"
    if logged_in():
        return "online"
    return "offline" if mode == "auto" else "missing"


def decide_mode(configured: str) -> Mode:
    """The mode for `tracking.mode`, as the process that begins a run decides it for all that track it; one line says what
    `auto` came to.

    Raises:
        UserError: it is to be online, and nobody is logged in.
    """
    mode = choose_mode(configured)
    if mode == "missing":
        raise UserError(f"W&B is to be online, and nobody is logged in; {_LOG_IN}")
    if configured == "auto" and mode != "disabled":
        why = ", as WANDB_MODE says" if os.environ.get("WANDB_MODE") else ""
        offline = "" if mode == "online" else "; `concord wandb sync` sends it later"
        print(f"W&B: {mode}{why or _why(mode)}{offline}", file=sys.stderr)
    return mode


def _why(mode: Mode) -> str:
    return "" if mode == "online" else ", nobody is logged in"


def check_key() -> None:
    """Raises:
    UserError: nobody is logged in on this host, which is to track a run online.
    """
    if not logged_in():
        raise UserError(
            f"W&B is to be online, as where the run was begun, but host {socket.gethostname()} has no key; {_LOG_IN}"
        )


def logged_in() -> bool:
    """Whether there is a key for W&B in the environment, in the netrc file or in W&B's settings."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    import wandb

    settings = wandb.setup().settings
    if settings.api_key:
        return True
    hosts = {urlsplit(settings.base_url).netloc, *PUBLIC_HOSTS}
    return any(_netrc_names(host) for host in hosts)


def _netrc_names(host: str) -> bool:
    named = os.environ.get("NETRC")
    files = [Path(named)] if named else [Path("~/.netrc"), Path("~/_netrc")]
    for file in (file.expanduser() for file in files):
        if file.is_file():
            try:
                return netrc.netrc(file).authenticators(host) is not None
            except (netrc.NetrcParseError, OSError):
                return False
    return False


def why_not_online(error: BaseException) -> str:
    """Why a run could not be started online, in one line: what W&B says of a refused key does not name the key."""
    if re.search(r"\b40[13]\b|invalid api key", str(error), re.IGNORECASE):
        return "the server refused the API key (`wandb login --relogin` takes another)"
    return one_line(error)


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
