"""Special tokens that are written in texts, as `[SEP]` in a text about BERT."""

import re
from collections.abc import Sequence
from weakref import WeakKeyDictionary

from transformers import PreTrainedTokenizerFast

Texts = Sequence[Sequence[str | None]]

_STUBBORN: "WeakKeyDictionary[PreTrainedTokenizerFast, re.Pattern[str] | None]" = WeakKeyDictionary()


def as_text(tokenizer: PreTrainedTokenizerFast, texts: Texts) -> Texts:
    """`texts` with a blank after the first character of each special token that the tokenizer would still make of its letters.

    Tokenizers that are told `encode_special_tokens` take special tokens in a text for text. Where the vocabulary lists them
    among its words or pieces (word-level, Unigram) that gives the special token all the same.
    """
    if tokenizer not in _STUBBORN:
        _STUBBORN[tokenizer] = _pattern(_stubborn(tokenizer))
    pattern = _STUBBORN[tokenizer]
    if pattern is None:
        return texts
    return [[text if text is None else pattern.sub(_apart, text) for text in row] for row in texts]


def _stubborn(tokenizer: PreTrainedTokenizerFast) -> list[str]:
    backend = tokenizer.backend_tokenizer
    added = backend.get_added_tokens_decoder().values()
    names = {*tokenizer.all_special_tokens, *(token.content for token in added if token.special)}
    backend.encode_special_tokens = True
    found = [name for name in names if backend.token_to_id(name) in backend.encode(name, add_special_tokens=False).ids]
    backend.encode_special_tokens = False
    # Of one letter: nothing can be put inside, and no text means them.
    return sorted((name for name in found if len(name) > 1), key=lambda name: (-len(name), name))


def _pattern(names: Sequence[str]) -> re.Pattern[str] | None:
    return re.compile("|".join(map(re.escape, names)), re.IGNORECASE) if names else None


def _apart(found: re.Match[str]) -> str:
    return f"{found.group()[0]} {found.group()[1:]}"
