"""What a task's rows are trained for: their own loss, what keeps the model smooth, and losses between rows.

Everything here is the same for any number of ranks: a row's noise and dropout are keyed by the row, and a loss between rows is
worked out from the embeddings of all of them.
"""

from multitask.objectives.contrastive import contrastive_losses, embed_texts, text_keys
from multitask.objectives.noise import row_noise
from multitask.objectives.row_dropout import row_dropout
from multitask.objectives.rows import RowLosses, RowObjective, passes_per_row
from multitask.objectives.teacher import Teacher

__all__ = [
    "RowLosses",
    "RowObjective",
    "Teacher",
    "contrastive_losses",
    "embed_texts",
    "passes_per_row",
    "row_dropout",
    "row_noise",
    "text_keys",
]
