"""Attention masks that are ready when an encoder gets them.

transformers looks whether a mask is all ones each time that it makes one, and a GPU is waited for. Who made the batch knows.
"""

import sys

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.masking_utils import create_bidirectional_mask

# What a model's module imports tells which masks it makes, and so whether one stands for all of them.
_MAKES, _MAKES_MORE = "create_bidirectional_mask", "create_bidirectional_sliding_window_mask"


def ready_mask(model: PreTrainedModel, mask: Tensor) -> Tensor:
    """What `model` makes of a mask (S, L) with a 0 in it, as its attention wants it."""
    # Only its shape and type are read.
    states = torch.empty(*mask.shape, 0, dtype=model.dtype, device=mask.device)
    ready = create_bidirectional_mask(model.config, states, mask, allow_is_bidirectional_skip=False)
    assert isinstance(ready, Tensor)
    return ready


@torch.no_grad()
def takes_ready_mask(model: PreTrainedModel, ids: Tensor, mask: Tensor) -> bool:
    """Whether `model` gives the same to the bit for the ready mask, and for None where all tokens are real.

    Tried on padded `ids` (S, L) and their `mask`, without dropout.
    """
    module = vars(sys.modules[type(model).__module__])
    if _MAKES not in module or _MAKES_MORE in module or "flash" in str(model.config._attn_implementation):
        return False

    def states(given: Tensor | None) -> Tensor:
        found: Tensor = model(input_ids=ids, attention_mask=given).last_hidden_state
        return found

    try:
        masked, whole = states(ready_mask(model, mask)), states(None)
    # Some read the mask for other things, too.
    except Exception:
        return False
    return torch.equal(masked, states(mask)) and torch.equal(whole, states(torch.ones_like(mask)))
