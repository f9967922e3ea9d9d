"""Scores worked out by hand, predictions of every row, and tables of what is wrong."""

import sys
from typing import Any

import numpy as np
import pytest
import torch

from multitask.config import RunConfig, TaskConfig, parse_config
from multitask.config.kind import MultiLabel
from multitask.data import TaskTable, collate, load_tokenizer, prepare, prepare_tables, tokenizer_id
from multitask.evaluation import (
    Evaluation,
    confusion_table,
    dev_scores,
    error_tables,
    evaluate,
    further_scores,
    tables,
    task_scores,
    train_scores,
    worst_errors,
)
from multitask.evaluation.retrieval import retrieval_ranks
from multitask.evaluation.train_rows import scored_rows
from multitask.model import build_model
from multitask.sampling import Schedule
from multitask.score_names import is_score
from multitask.work import WorkSource

CPU = torch.device("cpu")


@pytest.fixture
def config(tiny_tasks: dict[str, Any]) -> RunConfig:
    return parse_config(tiny_tasks, "test")


def _table(config: RunConfig, task: str, split: str = "dev") -> TaskTable:
    tokenizer = load_tokenizer(config.encoder.name)
    return prepare(config, task, split, tokenizer, tokenizer_id(tokenizer))


def _task(config: RunConfig, task: str, **kind: Any) -> TaskConfig:
    own = config.tasks[task]
    return own.model_copy(update={"kind": own.kind.model_copy(update=kind)})


def _said(predictions: list[float], probabilities: Any = None) -> Evaluation:
    """Classes, with probabilities that are sure of them if none are given."""
    said = np.array(predictions)
    return Evaluation(said, np.eye(5)[said.astype(int)] if probabilities is None else np.array(probabilities))


def test_scores_of_classes(config: RunConfig) -> None:
    labels = np.array([0.0, 0, 1, 1, 2])
    found = task_scores(config.tasks["sst"], _said([0, 1, 1, 1, 1]), labels)
    # F1 of class 0: precision 1, recall 1/2; class 1: 2/4 and 1; class 2 is never predicted, 3 and 4 never occur.
    assert found == {
        "accuracy": pytest.approx(3 / 5),
        "macro_f1": pytest.approx((2 / 3 + 2 / 3) / 5),
        # R_K: 5 · 3 − (2 · 1 + 2 · 4) over √(25 − 9) √(25 − 17).
        "matthews": pytest.approx(5 / np.sqrt(16 * 8)),
        # Ones and zeros: a class's area is the mean of its recall and that of all others; classes 3 and 4 have none.
        "auc": pytest.approx(((1 / 2 + 1) / 2 + (1 + 1 / 3) / 2 + 1 / 2) / 3),
    }


def test_scores_of_ordered_classes(config: RunConfig) -> None:
    labels, said = np.array([0.0, 1, 2, 3, 4, 4, 0, 2]), [0.0, 2, 2, 1, 4, 3, 1, 2]
    found = task_scores(_task(config, "sst", ordered=True), _said(said), labels)
    assert found["negative_mae"] == pytest.approx(-(0 + 1 + 0 + 2 + 0 + 1 + 1 + 0) / 8)
    observed = sum((x - y) ** 2 for x, y in zip(said, labels, strict=True)) / 8
    apart = sum((x - y) ** 2 for x in said for y in labels) / 64
    assert found["quadratic_kappa"] == pytest.approx(1 - observed / apart)
    same = task_scores(_task(config, "sst", ordered=True), _said([3.0, 3.0]), np.array([3.0, 3.0]))
    assert (same["quadratic_kappa"], same["matthews"], same["auc"]) == (0.0, 0.0, 0.5)


def test_binary_scores(config: RunConfig) -> None:
    labels, yes = np.array([1.0, 0, 0, 1]), np.array([0.9, 0.6, 0.7, 0.65])
    found = task_scores(config.tasks["quora"], _said([1, 1, 1, 1], np.stack([1 - yes, yes], 1)), labels)
    # Of the four pairs of a yes and a no, .9 is above both and .65 above one.
    wanted = {"accuracy": 0.5, "macro_f1": (0 + 2 / 3) / 2, "matthews": 0.0, "auc": 3 / 4}
    assert found == {name: pytest.approx(value) for name, value in wanted.items()}
    lost = _said([0, 0, 0, 0], np.full((4, 2), np.nan))
    assert np.isnan(task_scores(config.tasks["quora"], lost, labels)["auc"])


def test_scores_of_several_classes_a_row(config: RunConfig) -> None:
    kind = MultiLabel(classes=3, labels=("joy", "anger", "fear"))
    task = config.tasks["sst"].model_copy(update={"kind": kind})
    # {joy}, {}, {joy, fear}, {anger} beside {joy, anger}, {}, {fear}, {}.
    labels, said = np.array([1.0, 0, 5, 2]), np.array([3.0, 0, 4, 0])
    chances = np.array([[0.9, 0.6, 0.1], [0.3, 0.2, 0.2], [0.2, 0.4, 0.8], [0.1, 0.5, 0.3]])
    found = task_scores(task, Evaluation(said, chances), labels)
    # Joy: 1 right, 1 missed; anger: 1 wrong, 1 missed; fear: 1 right.
    wanted = {"micro_f1": 4 / 7, "macro_f1": (2 / 3 + 0 + 1) / 3, "exact_match": 1 / 4, "auc": (3 / 4 + 2 / 3 + 1) / 3}
    assert found == {name: pytest.approx(value) for name, value in wanted.items()}
    table = _table(config, "sst")
    many = Evaluation(np.full(table.rows, 3.0), np.full((table.rows, 3), 0.5))
    worst = error_tables("sst", task, table, many)
    assert list(worst) == ["worst/sst"]
    # Classes 0 … 4 of the file read as sets: 4 = {fear} has three wrong, 0 two.
    assert worst["worst/sst"]["rows"][0][3:] == ["fear", "joy, anger"]


def test_scores_of_numbers(config: RunConfig) -> None:
    labels = np.array([1.0, 2, 3, 4])
    found = task_scores(config.tasks["sts"], Evaluation(np.array([1.0, 2, 3, 5]), None), labels)
    # Covariance 6.5, squared deviations 8.75 and 5.
    wanted = {"pearson": 6.5 / np.sqrt(8.75 * 5), "spearman": 1, "negative_mae": -1 / 4}
    assert found == {name: pytest.approx(value) for name, value in wanted.items()}
    assert task_scores(config.tasks["sts"], Evaluation(-np.exp(labels), None), labels)["spearman"] == pytest.approx(-1)


@pytest.mark.parametrize(
    ("predictions", "labels"), [([2.5, 2.5, 2.5], [1.0, 2, 3]), ([1.0, 2, 3], [4.0, 4, 4]), ([1.0], [2.0])]
)
def test_constant_says_nothing(config: RunConfig, predictions: list[float], labels: list[float]) -> None:
    found = task_scores(config.tasks["sts"], Evaluation(np.array(predictions), None), np.array(labels))
    assert (found["pearson"], found["spearman"]) == (0.0, 0.0)


def test_ranks_of_positives_among_all_texts() -> None:
    """Directions in the plane by their angles: first text, positive, negative."""
    angles = np.radians([[0, 20, 10], [90, 130, 100], [180, 181, 0], [0, 30, 250]])
    texts = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    keys = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 1], [1, 9, 10]])
    # Of row 0 nearer: 10. Of row 1: 100. Of row 2 none. Of row 3: 10, but 20 is another positive of text 1, and 0 is text 1.
    assert retrieval_ranks(texts, keys).tolist() == [2, 2, 1, 2]
    # Without negatives: 30 is known to be none of row 0.
    assert retrieval_ranks(texts[:, :2], keys[:, :2]).tolist() == [1, 1, 1, 1]
    apart = np.array([[1, 2], [4, 5], [7, 8], [11, 9]])
    assert retrieval_ranks(texts[:, :2], apart).tolist() == [1, 1, 1, 2]
    lost = texts.copy()
    lost[1, 0] = np.nan
    assert np.isnan(retrieval_ranks(lost, keys)).tolist() == [False, True, False, False]


def test_contrastive_task_with_dev_rows_is_scored_by_what_it_finds(tiny_tasks: dict[str, Any]) -> None:
    tiny_tasks["tasks"]["pairs"] = {
        "kind": {"name": "contrastive"},
        "columns": {"text": "sentence1", "text_pair": "sentence2"},
        "files": {split: [f"quora-{split}.csv"] for split in ("train", "dev")},
        "format": "cs224n",
        "auxiliary": True,
    }
    tiny_tasks["tasks"]["sst"]["files"]["dev_train"] = ["sst-train.csv"]
    config = parse_config(tiny_tasks | {"training": {"selection": "dev_train/sst/auc"}}, "test")
    tables, model = prepare_tables(config), build_model(config).eval()
    table = tables.dev["pairs"]
    found = evaluate(model, "pairs", table, tables.pad_id, CPU, "fp32")
    with torch.no_grad():
        texts = model.embed("pairs", collate(table, np.arange(table.rows), tables.pad_id))
    u, v = torch.nn.functional.normalize(texts, dim=-1).chunk(2)
    words = [tuple(w.lower() for w in pair) for pair in table.texts(range(table.rows))]
    assert len(set(words)) == table.rows, "no text stands twice"
    wanted = [1 + int((own > own[row]).sum()) for row, own in enumerate(u @ v.T)]
    assert found.predictions.tolist() == wanted
    scores = task_scores(config.tasks["pairs"], found, np.asarray(table.labels))
    assert scores == {
        "retrieval_accuracy": pytest.approx(np.mean([rank == 1 for rank in wanted])),
        "mrr": pytest.approx(np.mean([1 / rank for rank in wanted])),
    }
    assert error_tables("pairs", config.tasks["pairs"], table, found) == {}
    assert config.selected_tasks == ("sst", "quora", "sts")
    further = further_scores(model, config, tables, CPU)
    train = evaluate(model, "sst", tables.train["sst"], tables.pad_id, CPU, "fp32")
    own = task_scores(config.tasks["sst"], train, np.asarray(tables.train["sst"].labels))
    assert further == {f"dev_train/sst/{name}": pytest.approx(value) for name, value in own.items()}
    assert set(tables.hashes()) == {f"{t}/{s}" for t in config.tasks for s in ("train", "dev")} | {"sst/dev_train"}


def test_mean_is_over_the_metric_that_each_task_names(tiny_tasks: dict[str, Any]) -> None:
    tiny_tasks["tasks"]["sst"]["metric"] = "macro_f1"
    scores = {
        "sst": {"accuracy": 0.9, "macro_f1": 0.3},
        "quora": {"accuracy": 0.6, "macro_f1": 0.1},
        "sts": {"pearson": -0.3, "spearman": 0.8},
    }
    found = dev_scores(parse_config(tiny_tasks, "test"), scores)
    assert found.pop("dev/mean") == pytest.approx((0.3 + 0.6 - 0.3) / 3)
    assert found == {f"dev/{task}/{name}": v for task, own in scores.items() for name, v in own.items()}


@pytest.mark.parametrize("pairs", ["cross_encoder", "bi_encoder"])
@pytest.mark.parametrize("task", ["sst", "quora", "sts"])
def test_every_row_is_predicted_as_if_alone(
    tiny_tasks: dict[str, Any], monkeypatch: pytest.MonkeyPatch, task: str, pairs: str
) -> None:
    # The package's function of this name hides its module.
    monkeypatch.setattr(sys.modules["multitask.evaluation.evaluate"], "BATCH_TOKENS", 70)
    for name in ("quora", "sts"):
        tiny_tasks["tasks"][name]["pair_encoding"] = {"name": pairs}
    config = parse_config(tiny_tasks, "test")
    model, table = build_model(config).train(), _table(config, task)
    found = evaluate(model, task, table, 0, CPU, "fp32")
    assert model.training
    model.eval()
    for row in range(table.rows):
        raw = model(task, collate(table, np.array([row]), 0)).detach()
        assert found.predictions[row] == pytest.approx(model.head(task).predict(raw).item(), abs=1e-5)
        if task == "sts":
            assert found.probabilities is None
        else:
            wanted = model.head(task).probabilities(raw)[0].numpy()  # type: ignore[index]
            np.testing.assert_allclose(found.probabilities[row], wanted, atol=1e-6)  # type: ignore[index]


def test_dropout_is_off_while_evaluating(tiny_tasks: dict[str, Any]) -> None:
    config = parse_config(tiny_tasks | {"encoder": tiny_tasks["encoder"] | {"dropout": 0.9}}, "test")
    model, table = build_model(config).train(), _table(config, "sts")
    one, two = (evaluate(model, "sts", table, 0, CPU, "fp32").predictions for _ in range(2))
    assert np.array_equal(one, two)
    assert np.ptp(one) > 0


def test_confusion_counts_rows_of_true_by_predicted(config: RunConfig) -> None:
    found = confusion_table(config.tasks["quora"], np.array([0.0, 1, 1, 1]), np.array([1.0, 1, 0, 1]))
    assert found == {"labels": ["0", "1"], "matrix": [[0, 1], [1, 2]]}
    wide = confusion_table(config.tasks["sst"], np.array([4.0]), np.array([2.0]))
    assert np.array(wide["matrix"]).shape == (5, 5)
    assert wide["matrix"][4][2] == np.array(wide["matrix"]).sum() == 1


def test_worst_errors_of_classes_are_those_least_believed(config: RunConfig) -> None:
    table = _table(config, "quora")
    labels = np.array(table.labels)
    yes = np.linspace(0.03, 0.92, table.rows)
    found = worst_errors(table, Evaluation((yes > 0.5).astype(float), np.stack([1 - yes, yes], 1)))
    missed = [row for row in range(table.rows) if (yes[row] > 0.5) != labels[row]]
    wanted = sorted(missed, key=lambda row: yes[row] if labels[row] else 1 - yes[row])
    assert [row[0] for row in found["rows"]] == table.ids(wanted)
    assert [(row[1], row[2]) for row in found["rows"]] == table.texts(wanted)
    assert [row[3] for row in found["rows"]] == labels[wanted].tolist()


def test_worst_errors_of_numbers_are_the_farthest_off(config: RunConfig) -> None:
    table = _table(config, "sts", "train")
    off = np.random.default_rng(0).permutation(table.rows) / 10
    found = worst_errors(table, Evaluation(table.labels + off, None))
    assert len(found["rows"]) == 20
    assert [row[0] for row in found["rows"]] == table.ids(np.argsort(-off)[:20])
    right = worst_errors(table, Evaluation(np.array(table.labels, np.float64), None))
    assert right["rows"] == []


def test_tables_by_kind(config: RunConfig) -> None:
    for task, names in (("sst", {"worst/sst", "confusion/sst"}), ("sts", {"worst/sts", "scatter/sts"})):
        table = _table(config, task)
        found = evaluate(build_model(config), task, table, 0, CPU, "fp32")
        assert set(error_tables(task, config.tasks[task], table, found)) == names


def test_false_positives_and_negatives_are_the_surest_first(config: RunConfig) -> None:
    table = _table(config, "quora")
    labels = np.array(table.labels)
    yes = np.random.default_rng(3).uniform(0.01, 0.99, table.rows)
    found = error_tables(
        "quora", config.tasks["quora"], table, Evaluation((yes > 0.5).astype(float), np.stack([1 - yes, yes], 1))
    )
    for name, label, sureness in (("false_positives", 0, yes), ("false_negatives", 1, 1 - yes)):
        wanted = [r for r in np.argsort(-sureness) if labels[r] == label and sureness[r] > 0.5]
        assert wanted
        assert [row[0] for row in found[f"{name}/quora"]["rows"]] == table.ids(wanted)


def test_scatter_holds_the_rows_or_an_even_part_of_them(config: RunConfig) -> None:
    table = _table(config, "sts")
    predictions = np.arange(table.rows, dtype=float)
    rows = error_tables("sts", config.tasks["sts"], table, Evaluation(predictions, None))["scatter/sts"]["rows"]
    assert [row[1] for row in rows] == predictions.tolist()
    assert [row[0] for row in rows] == np.asarray(table.labels).tolist()
    many = tables._scatter(np.arange(7001.0), np.arange(7001.0))["rows"]
    assert len(many) == 2000
    assert (many[0], many[-1]) == ([0.0, 0.0], [7000.0, 7000.0])
    assert set(np.diff([row[0] for row in many])) <= {3.0, 4.0}


def test_training_rows_are_scored_as_a_straight_reading_of_each_row_has_it(tiny_tasks: dict[str, Any]) -> None:
    tiny_tasks["tasks"]["sst"]["train_rows"] = 12
    config = parse_config(tiny_tasks | {"training": {"score_train_rows": 9}}, "test")
    tables, model = prepare_tables(config), build_model(config)
    found = train_scores(model, config, tables, CPU)
    assert found == train_scores(model, config, tables, CPU), "the same rows every time"
    rows = {task: scored_rows(config, task, table.rows) for task, table in tables.train.items()}
    used = {task: set() for task in rows}
    source = WorkSource(config, tables.train, tables.pad_id, 0, 1, all_tasks=False)
    schedule = Schedule(config, source.sizes())
    for step in range(schedule.steps):
        for task, batches in source.share(schedule.round(step)).batches.items():
            used[task] |= {int(row) for own in batches for row in own.batch.rows}
    for task, table in tables.train.items():
        assert len(set(rows[task])) == 9
        assert set(rows[task]) <= used[task], "only what is trained on"
        whole = evaluate(model, task, table, tables.pad_id, CPU, "fp32")
        chances = None if whole.probabilities is None else whole.probabilities[rows[task]]
        own = Evaluation(whole.predictions[rows[task]], chances)
        wanted = task_scores(config.tasks[task], own, np.array([table.labels[[row]][0] for row in rows[task]]))
        assert {name: found[f"train/{task}/{name}"] for name in wanted} == pytest.approx(wanted, abs=1e-6)
    assert not train_scores(model, parse_config(tiny_tasks, "test"), tables, CPU)


def test_scores_are_told_from_what_else_is_told_of_training() -> None:
    assert all(map(is_score, ("dev/mean", "dev/sst/accuracy", "train/sst/accuracy")))
    assert not any(
        map(is_score, ("train/loss/sst", "train/share/sst", "train/regularization/smart", "train/lr", "step"))
    )
