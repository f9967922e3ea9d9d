"""Padded batches."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from multitask.data.encoding import Encoded, Pairing, encode, lengths
from multitask.data.special_tokens import Texts
from multitask.data.table import RowNumbers, TaskTable
from multitask.device import to_device


@dataclass(frozen=True, eq=False)
class Batch:
    """B rows as S padded sequences of L tokens.

    `input_ids`, `attention_mask` (1 on real tokens), `token_type_ids`: (S, L) int64. `labels` (B,) as in the table, NaN where there
    is none. `rows` (B,) int64: row numbers in the table. S = `sequences` · B: a row of a bi-encoder or of contrastive pairs
    has 2 sequences, one with a negative 3; first come the B first texts, then the B second ones, … L is the longest
    sequence of this batch.

    `host`: the same batch on the host, where this one has been copied from there: what is asked of it there waits for no GPU.
    """

    input_ids: Tensor
    attention_mask: Tensor
    token_type_ids: Tensor
    labels: Tensor
    rows: Tensor
    sequences: int
    host: "Batch | None" = None

    def to(self, device: torch.device) -> "Batch":
        """The batch on `device`; the host does not wait until it is there."""
        if device.type == self.input_ids.device.type:
            return self
        return self._unpacked([to_device(part, device) for part in self._packed()])

    def _packed(self) -> list[Tensor]:
        """What is sent: 5 bytes for each token slot, and lengths for the mask."""
        behind = torch.arange(self.input_ids.shape[1]) < self.lengths[:, None]
        assert torch.equal(behind, self.attention_mask.bool()), "padding stands behind"
        ids, types = self.input_ids.to(torch.int32), self.token_type_ids.to(torch.uint8)
        return [ids, types, self.lengths.to(torch.int32), self.labels, self.rows]

    def _unpacked(self, parts: list[Tensor]) -> "Batch":
        ids, types, sizes, labels, rows = parts
        mask = torch.arange(ids.shape[1], device=ids.device) < sizes[:, None]
        return Batch(ids.long(), mask.long(), types.long(), labels, rows, self.sequences, host=self)

    @property
    def on_host(self) -> "Batch":
        """The batch on the host."""
        return self.host or self

    @cached_property
    def lengths(self) -> Tensor:
        """Real tokens of each sequence (S,), on the host."""
        return self.host.lengths if self.host else self.attention_mask.sum(1).cpu()

    @cached_property
    def is_padded(self) -> bool:
        """Whether any sequence is shorter than L."""
        return bool((self.lengths < self.input_ids.shape[1]).any())

    @cached_property
    def tokens(self) -> int:
        """Real tokens."""
        return int(self.lengths.sum())

    @property
    def slots(self) -> int:
        """Token slots, padding included: S · L."""
        return self.input_ids.numel()


def collate(table: TaskTable, rows: RowNumbers, pad_id: int) -> Batch:
    """The batch of these rows of a table."""
    numbers = np.asarray(rows, np.int64)
    return _batch(table.encoded(numbers), table.labels[numbers], numbers, pad_id)


def encode_texts(
    tokenizer: PreTrainedTokenizerFast, texts: Texts, pairing: Pairing, max_length: int, special_tokens: bool = False
) -> Batch:
    """A batch of raw texts, encoded as `prepare` does it; labels are NaN, rows are 0 … B − 1.

    Raises:
        UserError: a cross-encoder's tokenizer has token types other than 0 and 1.
    """
    encoded, _ = encode(tokenizer, texts, pairing, max_length, special_tokens)
    return _batch(encoded, np.full(len(texts), np.nan, np.float32), np.arange(len(texts)), int(tokenizer.pad_token_id))


def _batch(encoded: Encoded, labels: np.ndarray, rows: np.ndarray, pad_id: int) -> Batch:
    input_ids, mask = _pad([ids for column in encoded.input_ids for ids in column], pad_id)
    types = np.zeros_like(input_ids)
    if encoded.second_start is not None:
        starts = np.where(encoded.second_start < 0, input_ids.shape[1], encoded.second_start)
        types[mask & (np.arange(input_ids.shape[1]) >= starts[:, None])] = 1
    return Batch(
        input_ids=torch.from_numpy(input_ids),
        attention_mask=torch.from_numpy(mask.astype(np.int64)),
        token_type_ids=torch.from_numpy(types),
        labels=torch.from_numpy(labels),
        rows=torch.from_numpy(rows),
        sequences=len(encoded.input_ids),
    )


def _pad(sequences: Sequence[np.ndarray], pad_id: int) -> tuple[np.ndarray, np.ndarray]:
    """(S, L) int64 ids and (S, L) bool mask."""
    sizes = lengths(sequences)
    mask = np.arange(sizes.max(initial=0)) < sizes[:, None]
    ids = np.full(mask.shape, pad_id, np.int64)
    if len(sequences):
        ids[mask] = np.concatenate(sequences)
    return ids, mask
