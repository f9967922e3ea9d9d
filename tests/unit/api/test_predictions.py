from pathlib import Path
from typing import Any

import numpy as np
import pytest

import multitask
from cluster.api.predictions import predict_texts
from cluster.cli.predict import _lines
from multitask.config import parse_config
from multitask.export import write_export
from multitask.model import build_model


def test_plain_values_hold_numbers_of_classes_with_their_names_beside_them(
    tiny_tasks: dict[str, Any], tmp_path: Path
) -> None:
    tiny_tasks["tasks"]["quora"]["kind"]["labels"] = ["no", "yes"]
    config = parse_config(tiny_tasks, "test")
    write_export(tmp_path / "e", build_model(config), config, scores={}, step=1, data_hashes={}, versions={})
    model, pairs = multitask.load(tmp_path / "e", "cpu"), [["cat", "dog"], ["a", "b"]]
    found = predict_texts(model, "quora", pairs)
    chances = model.predict("quora", [("cat", "dog"), ("a", "b")], probabilities=True)
    assert found["texts"] == pairs
    assert found["probabilities"] == [[own["no"], own["yes"]] for own in chances]
    assert found["predictions"] == [int(own["yes"] > 0.5) for own in chances]
    assert found["labels"] == [["no", "yes"][value] for value in found["predictions"]]
    assert predict_texts(model, "sst", ["dull"]).keys() == {"task", "texts", "predictions", "probabilities"}
    numbers = predict_texts(model, "sts", pairs)
    assert numbers.keys() == {"task", "texts", "predictions"}
    assert numbers["predictions"] == pytest.approx(model.predict("sts", [("cat", "dog"), ("a", "b")]))


def test_sets_of_classes_are_lists_in_plain_values_and_lines(tiny_tasks: dict[str, Any], tmp_path: Path) -> None:
    tiny_tasks["tasks"]["sst"]["kind"] = {"name": "multi_label", "classes": 5, "labels": list("abcde")}
    config = parse_config(tiny_tasks, "test")
    write_export(tmp_path / "e", build_model(config), config, scores={}, step=1, data_hashes={}, versions={})
    model, texts = multitask.load(tmp_path / "e", "cpu"), ["dull", "superb film", "the"]
    found = predict_texts(model, "sst", texts)
    chances = np.array(found["probabilities"])
    assert found["predictions"] == [np.flatnonzero(row > 0.5).tolist() for row in chances]
    assert found["labels"] == [["abcde"[k] for k in own] for own in found["predictions"]]
    assert any(found["predictions"])
    wanted = [", ".join(f"{'abcde'[k]} ({row[k]:.0%})" for k in np.flatnonzero(row > 0.5)) or "none" for row in chances]
    assert _lines(found, json=False) == [f"{told}\t{text}" for told, text in zip(wanted, texts, strict=True)]
