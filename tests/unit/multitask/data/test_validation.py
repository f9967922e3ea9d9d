from typing import Any

import pytest

from multitask.config.kind import Binary, Classification, Kind, Regression
from multitask.config.task import TaskConfig
from multitask.data.validation import Row, RowError, parse_label, validate

FIVE, YES_NO, SCORE = Classification(classes=5), Binary(), Regression(low=-1, high=5)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (FIVE, "0", 0),
        (FIVE, "4", 4),
        (FIVE, "1.0", 1),
        (FIVE, 3, 3),
        (YES_NO, " 1 ", 1),
        (YES_NO, True, 1),
        (SCORE, "2.75", 2.75),
        (SCORE, "-1", -1),
        (SCORE, 5, 5),
    ],
)
def test_labels_of_the_kind_are_taken(kind: Kind, value: object, expected: float) -> None:
    assert parse_label(value, "y", kind) == expected


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        (FIVE, "5", "y must be a whole number in 0 … 4, got 5"),
        (FIVE, "-1", "y must be a whole number in 0 … 4, got -1"),
        (FIVE, "1.5", "y must be a whole number in 0 … 4, got 1.5"),
        (YES_NO, "2", "y must be a whole number in 0 … 1, got 2"),
        (SCORE, "5.01", "y must lie in [-1, 5], got 5.01"),
        (SCORE, "nan", "y is not a number: 'nan'"),
        (SCORE, "inf", "y is not a number: 'inf'"),
        (SCORE, float("nan"), "y is not a number: nan"),
        (SCORE, 10**400, "y is not a number: 1000"),
        (YES_NO, "yes", "y is not a number: 'yes'"),
        (YES_NO, "1_0", "y is not a number: '1_0'"),
        (YES_NO, [1], "y is not a number: [1]"),
        (YES_NO, "", "y is empty"),
        (YES_NO, " ", "y is empty"),
        (YES_NO, None, "missing field 'y'"),
    ],
)
def test_other_labels_are_refused_with_the_value(kind: Kind, value: object, reason: str) -> None:
    with pytest.raises(RowError) as caught:
        parse_label(value, "y", kind)
    assert str(caught.value).startswith(reason)


@pytest.fixture
def pairs() -> TaskConfig:
    return TaskConfig.model_validate(
        {
            "kind": {"name": "binary"},
            "columns": {"id": "k", "text": "a", "text_pair": "b", "label": "y"},
            "files": {"train": "x.csv", "dev": "y.csv"},
            "pair_encoding": {"name": "cross_encoder"},
        }
    )


def test_named_labels_are_their_places(pairs: TaskConfig) -> None:
    kind = Binary(labels=("not_entailment", "entailment"))
    assert [parse_label(name, "l", kind) for name in ("entailment", "not_entailment")] == [1.0, 0.0]
    for value in ("1", "Entailment", "", None):
        with pytest.raises(RowError, match="l must be one of not_entailment, entailment, got"):
            parse_label(value, "l", kind)


def test_usable_row(pairs: TaskConfig) -> None:
    values = {"id": 7, "text": " leading space", "text_pair": "ü", "label": "1"}
    assert validate(values, pairs, "f:2") == Row("7", " leading space", "ü", None, 1.0)
    del values["id"], values["label"]
    assert validate(values, pairs, "f:2") == Row("f:2", " leading space", "ü", None, None)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"text": ""}, "a is empty"),
        ({"text_pair": " \t "}, "b is empty"),
        ({"text": "\u200b\ufeff\u2060\u00ad"}, "a is empty"),
        ({"text": "\u3164\ufe0f \U000e0020"}, "a is empty"),
        ({"text_pair": None}, "missing field 'b'"),
        ({"text": 5}, "a is not a text: 5"),
        ({"text": "x\0y"}, "a contains a NUL byte"),
        ({"text_pair": "x\udcff"}, "b is not valid UTF-8"),
        ({"id": ""}, "k is empty"),
        ({"id": None}, "missing field 'k'"),
    ],
)
def test_unusable_rows_name_the_column(pairs: TaskConfig, change: dict[str, Any], reason: str) -> None:
    with pytest.raises(RowError) as caught:
        validate({"id": "1", "text": "t", "text_pair": "u", "label": "1", **change}, pairs, "f:2")
    assert str(caught.value) == reason


@pytest.mark.parametrize("text", ["\u200bx", "👍\ufe0f", "…", "\u0301", "é"])
def test_text_with_something_to_see_is_kept(pairs: TaskConfig, text: str) -> None:
    assert validate({"text": text, "text_pair": "u", "label": "1"}, pairs, "f:2").text == text


@pytest.mark.parametrize(
    ("value", "expected"), [(1.0, "1"), (7, "7"), (2.5, "2.5"), ("1.0", "1.0"), (2.0**60, "1.152921504606847e+18")]
)
def test_ids_in_a_column_of_floats_are_whole_numbers(pairs: TaskConfig, value: object, expected: str) -> None:
    assert validate({"id": value, "text": "t", "text_pair": "u", "label": "1"}, pairs, "f:2").id == expected


def test_reasons_can_be_printed(pairs: TaskConfig) -> None:
    with pytest.raises(RowError) as caught:
        validate({"text": "t", "text_pair": "u", "label": "\udcff" + "9" * 500}, pairs, "f:2")
    assert len(str(caught.value).encode()) < 100
