from typing import Any

import numpy as np
import pytest

from multitask.config.kind import Binary, Classification, Kind, MultiLabel, Regression, class_names
from multitask.config.task import TaskConfig
from multitask.data.labels import LabelDroppedError, LabelReader
from multitask.data.validation import Row, RowReader
from multitask.data.values import RowError


def task_of(kind: Kind, **keys: Any) -> TaskConfig:
    tree = {"kind": kind, "columns": {"text": "t", "label": "y"}, "files": {"train": "x.csv", "dev": "y.csv"}, **keys}
    return TaskConfig.model_validate(tree)


def parse_label(value: object, kind: Kind, split: str = "train", **keys: Any) -> float | None:
    return LabelReader(task_of(kind, **keys), split).read(value)


def validate(values: dict[str, object], task: TaskConfig) -> Row:
    return RowReader(task, "train", list(values)).read(list(values.values()), "f", 2)


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
    assert parse_label(value, kind) == expected


MOODS = MultiLabel(classes=3, labels=("joy", "anger", "fear"))


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (MOODS, "anger, joy", 1 + 2),
        (MOODS, ["fear"], 4),
        (MOODS, "", 0),
        (MOODS, [], 0),
        (MOODS, ("joy", "joy"), 1),
        (MultiLabel(classes=3), [2, 0], 4 + 1),
        (MultiLabel(classes=3), 1, 2),
        (MultiLabel(classes=3, separator="|"), "0|2", 1 + 4),
        (MultiLabel(classes=52), [51], 2.0**51),
    ],
)
def test_sets_of_classes_are_numbers(kind: Kind, value: object, expected: float) -> None:
    assert parse_label(value, kind) == expected
    assert parse_label(None, kind, "test") is None


@pytest.mark.parametrize(
    ("value", "reason"),
    [("joy, grief", "y must be one of joy, anger, fear, got ' grief'"), (None, "missing field 'y'")],
)
def test_a_set_with_a_class_that_is_none_is_refused(value: object, reason: str) -> None:
    with pytest.raises(RowError) as error:
        parse_label(value, MOODS)
    assert str(error.value) == reason


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        (FIVE, "5", "y must be a whole number in 0 … 4, got 5"),
        (FIVE, "-1", "y must be a whole number in 0 … 4, got -1"),
        (FIVE, "1.5", "y must be a whole number in 0 … 4, got 1.5"),
        (YES_NO, "2", "y must be a whole number in 0 … 1, got 2"),
        (SCORE, "5.01", "y must lie in [-1, 5], got 5.01"),
        (SCORE, "5.0000001", "y must lie in [-1, 5], got 5.0000001"),
        (SCORE, "3,5", "y is not a number: '3,5'; for a decimal comma set the task's layout.decimal to ','"),
        (SCORE, "nan", "y is not a number: 'nan'"),
        (SCORE, "inf", "y is not a number: 'inf'"),
        (SCORE, float("nan"), "y is not a number: nan"),
        (SCORE, 10**400, "y is not a number: 1000"),
        (YES_NO, "yes", "y is not a number: 'yes'; for labels that are words give kind.labels"),
        (YES_NO, "1_0", "y is not a number: '1_0'"),
        (YES_NO, [1], "y is not a number: [1]"),
        (YES_NO, "", "y is empty"),
        (YES_NO, " ", "y is empty"),
        (YES_NO, None, "missing field 'y'"),
    ],
)
def test_other_labels_are_refused_with_the_value(kind: Kind, value: object, reason: str) -> None:
    with pytest.raises(RowError) as caught:
        parse_label(value, kind)
    assert str(caught.value).startswith(reason)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (Binary(labels=("0", "1")), 1.0, 1),
        (Binary(labels=("0.0", "1.0")), 0.0, 0),
        (Binary(labels=("0", "1")), "1.0", 1),
    ],
)
def test_names_that_are_numbers_are_found_in_columns_of_floats(kind: Kind, value: object, expected: float) -> None:
    assert parse_label(value, kind) == expected


def test_a_class_may_have_several_names() -> None:
    kind = Binary(labels={"no": 0, "No": 0, "yes": 1})
    assert [parse_label(name, kind) for name in ("no", "No", "yes")] == [0, 0, 1]
    assert class_names(kind) == ("no", "yes")
    with pytest.raises(RowError, match="got 'Yes'; 'yes' differs in case alone"):
        parse_label("Yes", kind)


@pytest.mark.parametrize("value", ["-1", -1, -1.0, "", " ", None, float("nan")])
@pytest.mark.parametrize("kind", [FIVE, Binary(labels=("no", "yes")), Regression(low=0, high=5)])
def test_a_test_row_may_lack_its_label(kind: Kind, value: object) -> None:
    assert parse_label(value, kind, "test") is None
    for split in ("train", "dev"):
        with pytest.raises(RowError):
            parse_label(value, kind, split)


def test_what_is_a_label_of_the_task_is_one_in_a_test_split() -> None:
    assert parse_label("-1", SCORE, "test") == -1
    assert parse_label("-1", Binary(labels=("-1", "1")), "test") == 0
    with pytest.raises(RowError, match="got 7"):
        parse_label("7", FIVE, "test")


def test_decimal_comma() -> None:
    layout = {"decimal": ","}
    assert [parse_label(value, SCORE, layout=layout) for value in ("3,5", "4", 2.5)] == [3.5, 4, 2.5]
    for value in ("1.234", "1.234,5"):
        with pytest.raises(RowError, match="y is not a number"):
            parse_label(value, SCORE, layout=layout)


@pytest.mark.parametrize(("value", "expected"), [("0", 0), ("2.49", 0), ("2.5", 1), ("3.99", 1), ("4", 2), ("99", 2)])
def test_thresholds_make_classes_of_numbers(value: str, expected: float) -> None:
    """The class is the number of thresholds that the number reaches, as numpy.digitize counts them."""
    assert parse_label(value, Classification(classes=3, labels=("low", "mid", "high")), thresholds=(2.5, 4)) == expected
    assert np.digitize(float(value), [2.5, 4]) == expected


@pytest.mark.parametrize("value", ["-", " - ", "9", 9, 9.0])
def test_rows_with_dropped_labels_are_told_apart_from_bad_ones(value: object) -> None:
    with pytest.raises(LabelDroppedError, match=r"^(-|9)$"):
        parse_label(value, FIVE, drop_labels=["-", "9"])


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
    assert [parse_label(name, kind) for name in ("entailment", "not_entailment")] == [1.0, 0.0]
    for value in ("1", "Entailment", "", None):
        with pytest.raises(RowError, match="y must be one of not_entailment, entailment, got"):
            parse_label(value, kind)


def test_usable_row(pairs: TaskConfig) -> None:
    values = {"id": 7, "text": " leading space", "text_pair": "ü", "label": "1"}
    assert validate(values, pairs) == Row("7", " leading space", "ü", None, 1.0)
    del values["id"], values["label"]
    assert validate(values, pairs) == Row("f:2", " leading space", "ü", None, None)


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
        validate({"id": "1", "text": "t", "text_pair": "u", "label": "1", **change}, pairs)
    assert str(caught.value) == reason


@pytest.mark.parametrize("text", ["\u200bx", "👍\ufe0f", "…", "\u0301", "é"])
def test_text_with_something_to_see_is_kept(pairs: TaskConfig, text: str) -> None:
    assert validate({"text": text, "text_pair": "u", "label": "1"}, pairs).text == text


@pytest.mark.parametrize(
    ("value", "expected"), [(1.0, "1"), (7, "7"), (2.5, "2.5"), ("1.0", "1.0"), (2.0**60, "1.152921504606847e+18")]
)
def test_ids_in_a_column_of_floats_are_whole_numbers(pairs: TaskConfig, value: object, expected: str) -> None:
    assert validate({"id": value, "text": "t", "text_pair": "u", "label": "1"}, pairs).id == expected


def test_reasons_can_be_printed(pairs: TaskConfig) -> None:
    with pytest.raises(RowError) as caught:
        validate({"text": "t", "text_pair": "u", "label": "\udcff" + "9" * 500}, pairs)
    assert len(str(caught.value).encode()) < 100
