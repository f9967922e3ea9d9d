"""From a row's features to a head's raw outputs."""

from torch import Tensor, nn
from torch.nn import functional

from multitask.config.head import HeadConfig, LinearHead, MLPHead
from multitask.model.features import Features, without_autocast

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh}


class ScaleAndOffset(nn.Linear):
    """A linear layer on one number, in fp32 whatever the weights are and whether autocast is on."""

    def forward(self, input: Tensor) -> Tensor:
        """Numbers (B, 1) to (B, outputs)."""
        with without_autocast(input):
            return functional.linear(input.float(), self.weight.float(), self.bias.float())


class LinearReadout(nn.Module):
    """Dropout and a linear layer, (B, F) to (B, outputs); a single number (F = 1) is not dropped."""

    def __init__(self, features: Features, outputs: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.0 if features.is_one_number else dropout)
        self.linear = _linear(features.width, outputs, ScaleAndOffset if features.is_one_number else nn.Linear)
        if features.is_one_number:
            # cos lies in [-1, 1] and mostly above 0: start with "similar above one half", not with no opinion.
            nn.init.constant_(self.linear.weight, 5.0)
            nn.init.constant_(self.linear.bias, -2.5)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, F) to raw outputs (B, outputs)."""
        return self.linear(self.dropout(features))


class MLPReadout(nn.Module):
    """Dropout, a hidden layer with its activation, dropout and a linear layer, (B, F) to (B, outputs)."""

    def __init__(self, features: Features, outputs: int, dropout: float, hidden: int, activation: str) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.hidden = _linear(features.width, hidden)
        self.activation = _ACTIVATIONS[activation]()
        self.linear = _linear(hidden, outputs)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, F) to raw outputs (B, outputs)."""
        hidden = self.activation(self.hidden(self.dropout(features)))
        return self.linear(self.dropout(hidden))


class ScaledReadout(nn.Module):
    """The features as they are: nothing to learn."""

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, 1) to raw outputs (B, 1)."""
        return features


Readout = LinearReadout | MLPReadout | ScaledReadout


def build_readout(head: HeadConfig, features: Features, outputs: int, width: int, dropout: float) -> Readout:
    """The readout of `head` on `features` with so many raw outputs; `width` is the encoder's."""
    if isinstance(head, LinearHead):
        return LinearReadout(features, outputs, dropout)
    if isinstance(head, MLPHead):
        return MLPReadout(features, outputs, dropout, head.hidden or width, head.activation)
    return ScaledReadout()


def _linear(inputs: int, outputs: int, kind: type[nn.Linear] = nn.Linear) -> nn.Linear:
    layer = kind(inputs, outputs)
    nn.init.normal_(layer.weight, std=0.02)
    nn.init.zeros_(layer.bias)
    return layer
