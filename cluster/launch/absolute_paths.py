"""Folders that mean the same in every process."""

import os

from multitask.config import RunConfig


def absolute(config: RunConfig) -> RunConfig:
    """The config with folders that do not depend on a process's working folder; Ray's workers have their own."""
    tree = config.to_dict()
    for section, key in (("data", "root"), ("data", "cache"), ("cluster", "storage")):
        tree[section][key] = _absolute_path(tree[section][key])
    if os.path.isdir(os.path.expanduser(config.encoder.name)):
        tree["encoder"]["name"] = _absolute_path(config.encoder.name)
    return RunConfig.model_validate(tree)


def _absolute_path(location: str) -> str:
    if "://" in location or location.startswith("package:"):
        return location
    return os.path.abspath(os.path.expanduser(location))
