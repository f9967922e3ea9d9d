"""How far the differences between trained configurations would move with other dev rows."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import norm

from cluster.analysis.configurations import ScoredTrial
from cluster.analysis.ranking import Ranking
from cluster.analysis.row_bootstrap import is_resampled, resampled_scores, same_rows
from cluster.analysis.rules import MEAN
from cluster.storage.dev_predictions import TaskPredictions, read_dev_predictions
from cluster.storage.storage import Storage
from cluster.sweeps.store import SweepStore

Predictions = Mapping[str, TaskPredictions]


def row_half_widths(
    ranking: Ranking, cells: Sequence[Sequence[ScoredTrial]], level: float, searched: int
) -> tuple[np.ndarray | None, str | None]:
    """Half the width of each interval over rows, (k,), for the differences to the first of `cells` (1 + k rows of n seeds).

    The rows are resampled for all configurations alike. Finalists were chosen on these very rows, among `searched`: the
    normal quantile is Bonferroni's for as many. None, and the reason, where predictions are not known.
    """
    store = SweepStore(Storage(ranking.sweep.location))
    models = []
    for scored in (own for row in cells for own in row):
        predictions = read_dev_predictions(store.run(scored.run), scored.best.step)
        if predictions is None:
            return None, f"the predictions of {scored.trial.run} are not kept"
        models.append(predictions)
    if not same_rows(models):
        return None, "the configurations were not scored on the same dev rows"
    if strange := [key for key in _keys(ranking) if not key.startswith("dev/") or not is_resampled(key.split("/")[2])]:
        return None, f"the predictions that are kept do not give {strange[0]}"
    scores = _resampled(ranking, models).reshape(-1, len(cells), len(cells[0])).mean(-1)
    if not np.isfinite(scores).all():
        return None, f"{ranking.rule.name} is not known of every sample of the rows"
    error = (scores[:, 1:] - scores[:, :1]).std(0, ddof=1)
    return norm.ppf(1 - (1 - level) / (2 * max(searched, 1))) * error, None


def _keys(ranking: Ranking) -> list[str]:
    """The scores that the rule reads."""
    own = [ranking.rule.name] if ranking.rule.name.count("/") == 2 else []
    return list(dict.fromkeys([*ranking.keys.values(), *own]))


def _resampled(ranking: Ranking, models: Sequence[Predictions]) -> np.ndarray:
    """What the rule says of each model on each sample of the rows, (draws, M)."""
    table = {}
    for key in _keys(ranking):
        _, task, metric = key.split("/")
        # The same samples for all scores of a task, others for another task.
        place = sorted(models[0]).index(task)
        stacked = np.stack([model[task].predictions for model in models]).astype(np.float64)
        table[key] = resampled_scores(metric, models[0][task].labels.astype(np.float64), stacked, seed=place)
    table[MEAN] = np.mean([table[key] for key in ranking.keys.values()], axis=0)
    keys, values = list(table), np.stack(list(table.values()), axis=-1)
    flat = [ranking.rule.score(dict(zip(keys, point, strict=True))) for point in values.reshape(-1, len(keys)).tolist()]
    return np.array(flat).reshape(values.shape[:2])
