import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from multitask.data import load_tokenizer
from multitask.data.encoding import Pairing, encode

TEXTS = [("w1 [SEP] w2", "[CLS] w3 [PAD][SEP]"), ("w1 w2", "w3")]


def ids(tokenizer: PreTrainedTokenizerFast, pairing: Pairing, special_tokens: bool) -> list[list[list[int]]]:
    encoded, _ = encode(tokenizer, TEXTS, pairing, 32, special_tokens)
    return [[row.tolist() for row in column] for column in encoded.input_ids]


@pytest.mark.parametrize("special_tokens", [False, True])
def test_special_tokens_in_texts_are_those_of_transformers(tiny_bert: str, special_tokens: bool) -> None:
    """`split_special_tokens` is transformers' name for taking them as text."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    expected = [tokenizer(*row, split_special_tokens=not special_tokens)["input_ids"] for row in TEXTS]
    assert ids(load_tokenizer(str(tiny_bert)), "cross", special_tokens) == [expected]
    assert (expected[0].count(tokenizer.sep_token_id) == 2) == (not special_tokens)


def test_special_tokens_that_are_words_of_the_vocabulary_are_text_too(encoder_folder: str) -> None:
    tokenizer = load_tokenizer(encoder_folder)
    assert ids(tokenizer, "bi", True)[0][0] == [2, 5, 3, 6, 3]
    first, second = ids(tokenizer, "bi", False)
    assert first == [[2, 5, 1, 1, 6, 3], [2, 5, 6, 3]]
    assert [row[1:-1].count(token) for row in second for token in (0, 2, 3)] == [0] * 6


def test_special_tokens_that_are_pieces_of_unigram_are_text_too() -> None:
    pieces = [("<s>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("<pad>", 0.0), *((p, -3.0) for p in "▁</s>ab")]
    backend = Tokenizer(models.Unigram(pieces, unk_id=2))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **names)
    backend.encode_special_tokens = True
    assert 1 in backend.encode("a </s> b", add_special_tokens=False).ids
    encoded, _ = encode(tokenizer, [("a</s> b</S>",), ("a b",)], "single", 32)
    assert [[row.tolist().count(token) for token in (0, 1)] for row in encoded.input_ids[0]] == [[1, 1], [1, 1]]
