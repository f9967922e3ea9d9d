"""Hugging Face data sets by name: `hf://glue/sst2#train`."""

import importlib
from functools import lru_cache
from typing import Any

from multitask.errors import UserError

_SCHEME = "hf://"
# Files in the hub's repositories, which fsspec opens.
_FILES = ("hf://datasets/", "hf://buckets/", "hf://spaces/")


def is_data_set(name: str) -> bool:
    """Whether `name` is that of a data set, rather than of a file in one."""
    return name.startswith(_SCHEME) and not name.startswith(_FILES)


@lru_cache(maxsize=8)
def load_data_set(name: str) -> Any:
    """The `datasets.Dataset` of `hf://NAME#SPLIT`, `hf://NAME/CONFIGURATION#SPLIT` or `hf:///FOLDER#SPLIT`.

    What is in the cache of `datasets` needs no network.

    Raises:
        UserError: `datasets` is not installed, or there is no such data set, configuration or split.
    """
    place, _, split = name.removeprefix(_SCHEME).partition("#")
    if not place or not split:
        raise UserError(f"{name}: a data set is named with its split, as hf://glue/sst2#train")
    try:
        datasets = importlib.import_module("datasets")
    except ImportError:
        raise UserError(
            f"{name}: data sets by name need the package datasets: pip install 'concord-mtl[datasets]'"
        ) from None
    problems = []
    for path, configuration in _readings(place):
        try:
            return datasets.load_dataset(path, configuration, split=split)
        except (OSError, ValueError) as error:
            problems.append(" ".join(str(error).split()))
    raise UserError(f"cannot load {name}: {'; '.join(problems)}")


def _readings(place: str) -> list[tuple[str, str | None]]:
    """Names and configurations that `place` may mean: owner/name, name/configuration, owner/name/configuration."""
    parts = place.split("/")
    if place.startswith(("/", ".", "~")) or len(parts) == 1:
        return [(place, None)]
    if len(parts) == 2:
        return [(place, None), (parts[0], parts[1])]
    return [("/".join(parts[:2]), "/".join(parts[2:]))]
