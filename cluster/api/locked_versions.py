"""The versions that this environment has of everything that concord needs, as a lock file."""

from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from multitask.errors import UserError

_PROJECT = "concord-mtl"
_HEAD = """\
# What concord {version} was running with when this was written, and all that they need: an image has the versions of those
# who send runs to it. A version is written without its build: torch+cpu and torch with CUDA are the same one here.
"""


def locked_versions() -> str:
    """`name==version` of every distribution that concord needs here, directly or not, one a line.

    Raises:
        UserError: concord itself is not installed as a package.
    """
    try:
        version = distribution(_PROJECT).version
    except PackageNotFoundError:
        raise UserError(
            f"{_PROJECT} is not installed here, so its versions are not known: pip install it first"
        ) from None
    found: dict[str, str] = {}
    _collect(_PROJECT, frozenset(), found, set())
    del found[_PROJECT]
    lines = [f"{name}=={own.partition('+')[0]}" for name, own in sorted(found.items())]
    return _HEAD.format(version=version) + "\n".join(lines) + "\n"


def _collect(name: str, extras: frozenset[str], found: dict[str, str], done: set[tuple[str, frozenset[str]]]) -> None:
    """Add `name` and what it needs with `extras`; what is wanted elsewhere alone is not installed here."""
    if (name, extras) in done:
        return
    done.add((name, extras))
    try:
        installed: Distribution = distribution(name)
    except PackageNotFoundError:
        return
    found[name] = installed.version
    for line in installed.requires or ():
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            _collect(canonicalize_name(requirement.name), frozenset(requirement.extras), found, done)
