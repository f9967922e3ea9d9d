"""Which layers of the encoder are trained when."""

from multitask.config import RunConfig


def lowest_trained_layer(config: RunConfig, number_of_layers: int, phase: int, epoch_in_phase: int) -> int:
    """The lowest layer of the shared parameters that is trained in an epoch (from 0) of a phase.

    Layers as in `MultitaskModel.layer_of`, n = `number_of_layers`: 0 where all is trained, n + 2 where nothing shared is.
    Gradual unfreezing (Howard and Ruder 2018, section 3.3) trains nothing shared in epoch 0, the pooling and layer n
    in epoch 1, and one more layer in each that follows.
    """
    encoder = config.phases[phase].encoder
    if encoder == "trained":
        return 0
    if encoder == "frozen" or epoch_in_phase == 0:
        return number_of_layers + 2
    return max(0, number_of_layers + 1 - epoch_in_phase)


def lowest_layer_ever_trained(config: RunConfig, number_of_layers: int) -> int:
    """The lowest layer of the shared parameters that any epoch of the run trains; n + 2 if none is."""
    return min(
        lowest_trained_layer(config, number_of_layers, index, phase.epochs - 1)
        for index, phase in enumerate(config.phases)
    )
