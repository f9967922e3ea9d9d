"""Ray Tune's way to ask for the next trial: the book answers."""

from typing import TYPE_CHECKING, Any

from ray.tune.search import Searcher

from cluster.sweeps.trial_actor import SCORE

if TYPE_CHECKING:
    from cluster.sweeps.trials import Book


class BookSearcher(Searcher):
    """Gives Tune the trials that the book plans, those of an earlier sitting first.

    Results need not be told: the proposals are made from the book's records, which outlive this process.
    """

    def __init__(self, book: "Book") -> None:
        super().__init__(metric=SCORE, mode="max")
        self._book = book

    def suggest(self, trial_id: str) -> Any:
        """The next trial's config, or that there is none."""
        trial = self._book.next()
        return self.FINISHED if trial is None else self._book.tune_config(trial)

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        """The book has it by the driver's callback."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the book is on disk."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""
