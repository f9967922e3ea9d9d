"""Dev scores: every row once, whatever the number of ranks."""

from multitask.evaluation.evaluate import Evaluation, evaluate, evaluate_together
from multitask.evaluation.metrics import dev_scores, further_scores, task_scores
from multitask.evaluation.shared import from_rank_zero
from multitask.evaluation.tables import confusion_table, error_tables, worst_errors
from multitask.evaluation.train_rows import train_scores

__all__ = [
    "Evaluation",
    "confusion_table",
    "dev_scores",
    "error_tables",
    "evaluate",
    "evaluate_together",
    "from_rank_zero",
    "further_scores",
    "task_scores",
    "train_scores",
    "worst_errors",
]
