"""Tokenizers: loading and identity."""

import hashlib
import json

from transformers import AutoTokenizer, PreTrainedTokenizerFast

from multitask.data.location import resolve_location
from multitask.errors import UserError, first_line

# Of no vocabulary: the last two private characters of Unicode.
_SELDOM = "\U0010fffc \U0010fffd"


def load_tokenizer(name: str) -> PreTrainedTokenizerFast:
    """The fast tokenizer of an encoder: a folder, a hub name, or `package:NAME[/SUB]`.

    One without a padding token, such as GPT-2's, pads with its end token, which no encoder sees.

    Raises:
        UserError: there is none, it is no fast one, it has neither a padding nor an end token, or none for what it does not know.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(resolve_location(name), trust_remote_code=False)
    # A torn tokenizer.json gives bare `Exception`s.
    except Exception as error:
        raise UserError(f"encoder.name: no tokenizer for {name}: {first_line(error)}") from None
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise UserError(f"encoder.name: {name} has no fast tokenizer (tokenizer.json)")
    if tokenizer.pad_token_id is None and tokenizer.eos_token_id is not None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token_id is None:
        raise UserError(f"encoder.name: the tokenizer of {name} has no padding token")
    try:
        tokenizer.backend_tokenizer.encode(_SELDOM)
    except Exception as error:
        raise UserError(f"encoder.name: the tokenizer of {name} cannot read every text: {first_line(error)}") from None
    return tokenizer


def tokenizer_id(tokenizer: PreTrainedTokenizerFast) -> str:
    """sha256 of everything that decides what ids a text gets; padding and truncation, which callers set, left out."""
    model = json.loads(tokenizer.backend_tokenizer.to_str())
    model["padding"] = model["truncation"] = None
    settings = [
        model,
        {name: str(token) for name, token in tokenizer.special_tokens_map.items()},
        "token_type_ids" in tokenizer.model_input_names,
        tokenizer.truncation_side,
    ]
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
