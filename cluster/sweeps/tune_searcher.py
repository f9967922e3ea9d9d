"""Ray Tune asks a searcher for the next trial; this one gives the trials of the ledger."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ray.tune.search import Searcher

from cluster.sweeps.trial_actor import SCORE

if TYPE_CHECKING:
    from cluster.sweeps.trials import TrialLedger


class LedgerSearcher(Searcher):
    """Gives Tune the trials that the ledger plans, those of an earlier attempt first.

    Results need not be told: the proposals are made from the ledger's records, which outlive this process.
    """

    def __init__(self, ledger: "TrialLedger", limit: Callable[[], int]) -> None:
        """`limit`: how many trials may be under way now."""
        super().__init__(metric=SCORE, mode="max")
        self._ledger, self._limit = ledger, limit

    def suggest(self, trial_id: str) -> Any:
        """The next trial's config, that there is none, or None: none now, as where one that runs may have to be tried again."""
        if sum(trial.status == "running" for trial in self._ledger.trials) >= self._limit():
            return None
        trial = self._ledger.next()
        if trial is None:
            return self.FINISHED if self._ledger.is_through else None
        return self._ledger.tune_config(trial)

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        """The ledger has it by the driver's callback."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the ledger is on disk."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""
