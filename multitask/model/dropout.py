"""An encoder's dropout: one probability wherever it drops, and masks that all rows share where it drops no row's own."""

from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import handle_torch_function, has_torch_function
from transformers import PretrainedConfig

# The names under which Hugging Face configs keep the dropout probabilities of an encoder.
_PROBABILITIES = (
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "hidden_dropout",
    "attention_dropout",
    "activation_dropout",
    "dropout",
    "dropout_rate",
    "embedding_dropout",
    "mlp_dropout",
    "embd_pdrop",
    "attn_pdrop",
    "resid_pdrop",
)


def set_dropout(shape: PretrainedConfig, dropout: float) -> None:
    """Let an encoder of this config drop with probability `dropout` everywhere, and never a whole layer."""
    for name in _PROBABILITIES:
        if isinstance(getattr(shape, name, None), float | int):
            setattr(shape, name, dropout)
    if isinstance(getattr(shape, "layerdrop", None), float | int):
        # Every rank would leave out layers of its own.
        shape.layerdrop = 0.0


class TableDropout(nn.Dropout):
    """Dropout of a table that all rows read, such as DeBERTa's relative positions: all rows share its mask."""

    def forward(self, input: Tensor) -> Tensor:
        """Of any shape to the same."""
        return table_dropout(input, self.p, self.training)


def table_dropout(input: Tensor, p: float, training: bool) -> Tensor:
    """Dropout that a `RowDropout` knows to belong to no row."""
    if has_torch_function((input,)):
        return handle_torch_function(table_dropout, (input,), input, p, training)
    return functional.dropout(input, p, training)
