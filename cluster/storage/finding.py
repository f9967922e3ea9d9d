"""What `concord doctor` finds in a folder."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from cluster.storage.storage import Storage


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, in a line.

    `path`: where, below the folder. `advice`: what `mend` does, given the folder; without it, what the user does.
    """

    path: str
    problem: str
    advice: str
    mend: Callable[[Storage], None] | None = None

    def below(self, folder: str) -> "Finding":
        """As a finding of the folder above, in which `folder` is the one that it is of."""
        mend = self.mend
        return replace(
            self,
            path=f"{folder}/{self.path}",
            mend=None if mend is None else lambda storage: mend(storage.below(folder)),
        )


def remove_file(path: str, problem: str) -> Finding:
    """A file that nothing needs."""
    return Finding(path, problem, "remove it", lambda storage: storage.delete_file(path))


def remove_folder(path: str, problem: str) -> Finding:
    """A folder that nothing needs."""
    return Finding(path, problem, "remove it", lambda storage: storage.delete_folder(path))
