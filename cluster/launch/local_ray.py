"""A Ray of this process's own: on loopback alone, and only for those who have its token.

What speaks on it beside Ray's own services, as the process group of the workers, stays on loopback, too. A Ray that other hosts
are to reach is started by `ray start` and named by `cluster.address`.
"""

import logging
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from cluster.launch.scratch import create_scratch, remove_scratch
from cluster.training.loopback import loopback_variables
from multitask.errors import UserError, first_line

_OBJECT_STORE_BYTES = 128 * 2**20
# The mode that Ray has on systems where it knows no clusters: it listens on loopback.
_NO_CLUSTER = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
_AUTH_MODE, _TOKEN, _TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"


@contextmanager
def local_ray() -> Iterator[str]:
    """A Ray that lives for as long as the block; gives the folder of its session. Afterwards this process is as it was.

    Raises:
        UserError: it did not start.
    """
    import ray
    from ray._private import ray_constants

    folder = create_scratch("ray")
    changes = _token_variables(folder) | loopback_variables() | _NO_CLUSTER
    before = {name: os.environ.get(name) for name in changes}
    can_cluster = ray_constants.ENABLE_RAY_CLUSTER
    try:
        ray_constants.ENABLE_RAY_CLUSTER = False
        _set_variables(changes)
        _start(folder)
        yield folder
    finally:
        ray.shutdown()
        remove_scratch(folder)
        ray_constants.ENABLE_RAY_CLUSTER = can_cluster
        _set_variables(before)


def _start(folder: str) -> None:
    """What ends it while it starts, as a want of memory or a kill, is an error of many kinds."""
    import ray

    try:
        ray.init(
            address="local",
            include_dashboard=False,
            logging_level=logging.ERROR,
            log_to_driver=False,
            object_store_memory=_OBJECT_STORE_BYTES,
            _temp_dir=folder,
        )
    except Exception as error:
        raise UserError(f"Ray did not start on this host: {first_line(error).rstrip('.')}; start again") from None


def _token_variables(folder: str) -> dict[str, str | None]:
    """What makes Ray want a token of its own, which only this user can read; nothing where the user has chosen otherwise."""
    if os.environ.get(_AUTH_MODE, "token") != "token":
        return {}
    path = Path(folder, "token")
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(32))
    # A token by value would be taken before this one.
    return {_AUTH_MODE: "token", _TOKEN_PATH: str(path), _TOKEN: None}


def _set_variables(values: Mapping[str, str | None]) -> None:
    """Set or, where None, remove them; Ray, which has read some already, reads them again."""
    raylet: Any = import_module("ray._raylet")
    for name, value in values.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    raylet.Config.initialize("")
    raylet.AuthenticationTokenLoader.instance().reset_cache()
