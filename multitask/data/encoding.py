"""Texts to token ids."""

from collections.abc import Sequence, Sized
from dataclasses import dataclass
from itertools import chain
from typing import Literal

import numpy as np
from tokenizers import Encoding
from transformers import PreTrainedTokenizerFast

from multitask.config import TaskConfig
from multitask.data.special_tokens import Texts, as_text
from multitask.errors import UserError

Pairing = Literal["single", "cross", "bi", "tri"]

# Sequences of a row, each with its own column of tokens.
SEQUENCES: dict[Pairing, int] = {"single": 1, "cross": 1, "bi": 2, "tri": 3}


def pairing_of(task: TaskConfig) -> Pairing:
    """How a row's texts become sequences: one text, two in one sequence, or each of two or three in its own."""
    if task.columns.negative is not None:
        return "tri"
    if not task.is_pair:
        return "single"
    return "cross" if task.pair_encoding is not None and task.pair_encoding.name == "cross_encoder" else "bi"


_CLASS_TYPE = 2


@dataclass(frozen=True, eq=False)
class Encoded:
    """Token ids of some rows, without padding.

    `input_ids`: for each of a row's sequences, one int32 array a row. `second_start` (rows,) int16, cross-encoder only:
    where token type 1 begins, −1 if the tokenizer has no types.
    """

    input_ids: list[list[np.ndarray]]
    second_start: np.ndarray | None = None


def encode(
    tokenizer: PreTrainedTokenizerFast, texts: Texts, pairing: Pairing, max_length: int, special_tokens: bool = False
) -> tuple[Encoded, int]:
    """Token ids of `texts` and the number of rows that were cut to `max_length` tokens.

    `special_tokens`: one that is written in a text, as `[SEP]`, is one; else it is text as any other.

    Raises:
        UserError: token types are not a run of 0 and then a run of 1.
    """
    columns = _encodings(tokenizer, texts, pairing, max_length, special_tokens)
    starts = None
    if pairing == "cross":
        typed = "token_type_ids" in tokenizer.model_input_names
        starts = np.array([_second_start(encoding) if typed else -1 for encoding in columns[0]], np.int16)
    cut = sum(any(map(_is_cut, row)) for row in zip(*columns, strict=True))
    return Encoded([_ids(encodings) for encodings in columns], starts), cut


def uncut_lengths(
    tokenizer: PreTrainedTokenizerFast, texts: Texts, pairing: Pairing, special_tokens: bool = False
) -> np.ndarray:
    """Tokens of each row, special ones included, were nothing cut: (rows,) int32; of the longest of several sequences."""
    columns = _encodings(tokenizer, texts, pairing, None, special_tokens)
    longest: np.ndarray = np.max([lengths(column) for column in columns], axis=0)
    return longest


def lengths(sequences: Sequence[Sized]) -> np.ndarray:
    """Length of each sequence, (rows,) int32."""
    return np.fromiter(map(len, sequences), np.int32, len(sequences))


def _encodings(
    tokenizer: PreTrainedTokenizerFast, texts: Texts, pairing: Pairing, max_length: int | None, special_tokens: bool
) -> list[list[Encoding]]:
    """One list over the rows for each of a row's sequences."""
    backend = tokenizer.backend_tokenizer
    # transformers sets these anew in every call of its own, so nobody relies on what is left here.
    backend.no_padding()
    if max_length is None:
        backend.no_truncation()
    else:
        backend.enable_truncation(max_length, strategy="longest_first", direction=tokenizer.truncation_side)
    if not special_tokens:
        texts = as_text(tokenizer, texts)
    backend.encode_special_tokens = not special_tokens
    try:
        if pairing == "cross":
            return [backend.encode_batch_fast([(row[0], row[1]) for row in texts])]
        places = range(SEQUENCES[pairing])
        return [backend.encode_batch_fast([row[place] for row in texts]) for place in places]
    finally:
        backend.encode_special_tokens = False


def _ids(encodings: list[Encoding]) -> list[np.ndarray]:
    lists = [encoding.ids for encoding in encodings]
    sizes = np.fromiter(map(len, lists), np.int64, len(lists))
    values = np.fromiter(chain.from_iterable(lists), np.int32, int(sizes.sum()))
    return np.split(values, np.cumsum(sizes))[:-1]


def _is_cut(encoding: Encoding) -> bool:
    return bool(encoding.overflowing)


def _second_start(encoding: Encoding) -> int:
    types = encoding.type_ids
    # XLNet's and Funnel's tokenizers give the class token, which stands last or first, a type of its own; their encoders get none here.
    texts = types[types[:1] == [_CLASS_TYPE] : len(types) - (types[-1:] == [_CLASS_TYPE])]
    ones = sum(texts)
    if texts != [0] * (len(texts) - ones) + [1] * ones:
        raise UserError(
            "encoder.name: its tokenizer's token types are not 0 for the first text and 1 for the second; this is not supported"
        )
    return types.index(1) if ones else -1
