"""Any Hugging Face encoder, with one dropout setting and one vector per sequence."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import PreTrainedModel

from multitask.device import tf32_products
from multitask.model.masking import ready_mask
from multitask.model.padding import Padding
from multitask.model.pooling import POOLINGS, States
from multitask.model.projected_attention import ProjectedAttentionLayers, beside_layers


class Encoder(nn.Module):
    """`model` followed by pooling: token ids (S, L) to one vector per sequence (S, D).

    `padding`: how long sequences are made inside. `takes_ready_mask`: whether the model may be given the mask that it would make
    itself; no, until that has been tried. `tf32`: whether a GPU multiplies in TF32.
    """

    def __init__(
        self, model: PreTrainedModel, pooling: str, *, token_types: bool = True, padding: Padding | None = None
    ) -> None:
        super().__init__()
        self.model, self.padding = model, padding or Padding()
        self.takes_ready_mask = self.tf32 = False
        self.pool = POOLINGS[pooling](self.width)
        self.takes_token_types = (
            token_types
            and "token_type_ids" in inspect.signature(model.forward).parameters
            and getattr(model.config, "type_vocab_size", 0) > 1
        )
        # A pooler that no pooling reads stays as it was pretrained, and an export hands it on unchanged.
        if isinstance(pooler := getattr(model, "pooler", None), nn.Module):
            pooler.requires_grad_(pooling == "pooler")

    @property
    def words(self) -> nn.Module:
        """The module that looks words up."""
        named = self.model.get_input_embeddings()
        # A T5's is another than the one that it names; they share the table.
        owners = [m for m in self.model.modules() if getattr(m, "weight", None) is named.weight]
        return owners[-1] if type(owners[-1]) is type(named) else named

    @property
    def length(self) -> int | None:
        """Tokens that every sequence is padded to inside; None where that depends on the batch."""
        return self.padding.length

    @property
    def width(self) -> int:
        """D."""
        return int(self.model.config.hidden_size)

    @property
    def pad_id(self) -> int:
        """The id that the encoder takes for padding."""
        return max(0, self.model.config.pad_token_id or 0)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor,
        noise: Tensor | None = None,
        adapter: ProjectedAttentionLayers | None = None,
        is_padded: bool | None = None,
    ) -> Tensor:
        """Token ids, mask and types, each (S, L) int64, to embeddings (S, D).

        `noise` (S, L, width of the word embeddings) is added to the embedded words; `adapter` works beside the layers.
        `is_padded`: whether any sequence is shorter than L; who says so spares a GPU from being asked.
        """
        if self.length is not None or self.padding.more(input_ids.shape[1]):
            is_padded = True if self.padding.more(input_ids.shape[1]) else is_padded
            input_ids, attention_mask, token_type_ids, noise = self._padded(
                input_ids, attention_mask, token_type_ids, noise
            )
        types = {"token_type_ids": token_type_ids} if self.takes_token_types else {}
        every = self.pool.reads_all_layers
        with self._added(noise), beside_layers(self.model, adapter, attention_mask), tf32_products(self.tf32):
            mask = self._attended(attention_mask, is_padded)
            output = self.model(input_ids=input_ids, attention_mask=mask, output_hidden_states=every, **types)
        # The first of `hidden_states` is the embedding layer's.
        layers = tuple(output.hidden_states[1:]) if every else ()
        return self.pool(States(output.last_hidden_state, layers, output.get("pooler_output")), attention_mask)

    def _attended(self, mask: Tensor, is_padded: bool | None) -> Tensor | None:
        """What the model is told of the mask (S, L): where it takes one, the mask that it would make of it, or None of ones."""
        if is_padded is None or not self.takes_ready_mask:
            return mask
        return ready_mask(self.model, mask) if is_padded else None

    def embedded_ids(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The ids (S, L and what `padding` adds) whose words are looked up for these ids and mask (S, L)."""
        more = self.padding.more(input_ids.shape[1])
        if self.length is None and not more:
            return input_ids
        return pad(input_ids.masked_fill(attention_mask == 0, self.pad_id), (0, more), value=self.pad_id)

    def _padded(
        self, ids: Tensor, mask: Tensor, types: Tensor, noise: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        more = self.padding.more(ids.shape[1])
        longer = None if noise is None else pad(noise, (0, 0, 0, more))
        return self.embedded_ids(ids, mask), pad(mask, (0, more)), pad(types, (0, more)), longer

    @contextmanager
    def _added(self, noise: Tensor | None) -> Iterator[None]:
        """Inside, the embedding of words gives what it would and `noise` besides.

        The encoder still sees the ids: some work out positions from them, which they cannot from `inputs_embeds`. The hook
        comes after an `EmbeddingTap`'s, whose leaf is the embedding without noise.
        """
        if noise is None:
            yield
            return
        handle = self.words.register_forward_hook(lambda module, arguments, output: output + noise.to(output.dtype))
        try:
            yield
        finally:
            handle.remove()
