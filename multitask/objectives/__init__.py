"""What a task's rows are trained for: their own loss, what keeps the model smooth, and losses between rows.

Everything here is the same for any number of ranks: a row's noise and dropout are keyed by the row, and a loss between rows is
worked out from the embeddings of all of them.
"""

from multitask.objectives.between_rows import compared_facts, compared_losses, compared_outputs, no_rows
from multitask.objectives.contrastive import contrastive_losses, text_keys
from multitask.objectives.noise import row_noise
from multitask.objectives.row_dropout import row_dropout
from multitask.objectives.rows import RowLosses, RowObjective, passes_per_row
from multitask.objectives.teacher import Teacher

__all__ = [
    "RowLosses",
    "RowObjective",
    "Teacher",
    "compared_facts",
    "compared_losses",
    "compared_outputs",
    "contrastive_losses",
    "no_rows",
    "passes_per_row",
    "row_dropout",
    "row_noise",
    "text_keys",
]
