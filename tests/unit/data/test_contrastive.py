"""Tasks without labels, with up to three texts a row."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from multitask.config import RunConfig
from multitask.data import check, collate, load_tokenizer, prepare, tokenizer_id
from multitask.errors import UserError

MakeConfig = Callable[..., RunConfig]
TRIPLETS = {"text": "sent0", "text_pair": "sent1", "negative": "hard_neg"}
CONTRASTIVE = {"kind": {"name": "contrastive"}, "files": {"train": "train.csv"}}


@pytest.fixture
def tokenizer(encoder_folder: str) -> PreTrainedTokenizerFast:
    return load_tokenizer(encoder_folder)


@pytest.fixture
def triplets(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("sent0,sent1,hard_neg\nw1,w2 w3,w4 w5 w6\nw7 w8,w9,w10\n")


def _with_scored_task(make_config: MakeConfig, **contrastive: object) -> RunConfig:
    """A run needs a task that chooses the best checkpoint beside the contrastive one."""
    config = make_config()
    tree = config.to_dict()
    tree["encoder"]["dropout"] = 0.1
    tree["tasks"] = {"scored": tree["tasks"].pop("t"), "t": {**CONTRASTIVE, **contrastive}}
    return RunConfig.model_validate(tree)


@pytest.mark.usefixtures("triplets")
@pytest.mark.parametrize(("texts", "sequences"), [(1, 1), (2, 2), (3, 3)])
def test_rows_of_one_to_three_texts(
    make_config: MakeConfig, tokenizer: PreTrainedTokenizerFast, texts: int, sequences: int
) -> None:
    columns = dict(list(TRIPLETS.items())[:texts])
    config = _with_scored_task(make_config, columns=columns)
    table = prepare(config, "t", "train", tokenizer, tokenizer_id(tokenizer))
    assert (table.rows, table.sequences) == (2, sequences)
    assert np.isnan(np.asarray(table.labels)).all()
    rows = [[[5], [6, 7], [8, 9, 10]], [[11, 12], [13], [14]]]
    batch = collate(table, [1, 0], tokenizer.pad_token_id)
    assert batch.sequences == sequences
    wanted = [[2, *rows[row][place], 3] for place in range(texts) for row in (1, 0)]
    found = [ids[mask.bool()].tolist() for ids, mask in zip(batch.input_ids, batch.attention_mask, strict=True)]
    assert found == wanted
    longest = [max(len(text) for text in row[:texts]) + 2 for row in rows]
    assert np.asarray(table.lengths).tolist() == longest


@pytest.mark.usefixtures("triplets")
def test_missing_negative_is_told_by_row_and_column(
    tmp_path: Path, make_config: MakeConfig, tokenizer: PreTrainedTokenizerFast
) -> None:
    config = _with_scored_task(make_config, columns=TRIPLETS)
    (tmp_path / "train.csv").write_text("sent0,sent1,hard_neg\nw1,w2,\n")
    with pytest.raises(UserError, match=r"train\.csv:2: hard_neg is empty"):
        prepare(config, "t", "train", tokenizer, tokenizer_id(tokenizer))
    (tmp_path / "train.csv").write_text("sent0,sent1\nw1,w2\n")
    with pytest.raises(UserError, match=r"column 'hard_neg' \(tasks\.t\.columns\.negative\) is missing"):
        prepare(config, "t", "train", tokenizer, tokenizer_id(tokenizer))


EXTRA = {
    "nli-simcse-triplets.csv": (27560, {"columns": TRIPLETS, "format": "csv"}),
    "quora-extra-positives.csv": (
        47066,
        {"columns": {"text": "sentence1", "text_pair": "sentence2"}, "format": "cs224n"},
    ),
    "wiki-sentences.txt": (20093, {"columns": {"text": "text"}}),
    "quora-questions-unlabelled.txt": (9838, {"columns": {"text": "text"}}),
}
FIVE = {"name": "classification", "classes": 5}
ONE_TEXT = {"id": "id", "text": "sentence"}
PAIR = {"id": "id", "text": "sentence1", "text_pair": "sentence2"}
CROSS = {"name": "cross_encoder"}
LABELLED = {
    "kindle15k.csv": (14997, {"kind": FIVE, "columns": {**ONE_TEXT, "label": "sentiment"}}),
    "mrpc-train.csv": (3855, {"columns": {**PAIR, "label": "is_duplicate"}, "pair_encoding": CROSS}),
    # Some rows of these two share their ids, which are left out therefore.
    "rte-train.csv": (
        1244,
        {
            "kind": {"name": "binary", "labels": ["not_entailment", "entailment"]},
            "columns": {"text": "sentence1", "text_pair": "sentence2", "label": "label"},
            "pair_encoding": CROSS,
        },
    ),
    "cola-train.csv": (8551, {"columns": {"text": "sentence", "label": "label"}}),
}


def test_real_files_are_tasks_by_config_only(shared_data: Path, make_config: MakeConfig) -> None:
    tasks = {}
    for file, (_, declared) in EXTRA.items():
        tasks[_name(file)] = {"kind": {"name": "contrastive"}, "files": {"train": f"extra/{file}"}, **declared}
    for file, (_, declared) in LABELLED.items():
        own = {"kind": {"name": "binary"}, "files": {"train": f"extra/{file}"}, "format": "cs224n", "auxiliary": True}
        tasks[_name(file)] = own | declared
    tree = make_config().to_dict()
    rte = tasks["rte_train"]
    tasks["rte_train"] = rte | {"auxiliary": False, "files": {**rte["files"], "dev": "extra/rte-dev.csv"}}
    tree |= {"tasks": tasks, "phases": [{}]}
    tree["encoder"]["dropout"] = 0.1
    tree["data"]["root"] = str(shared_data)
    reports = check(RunConfig.model_validate(tree))
    rows = {r.task: r.rows for r in reports if r.split == "train"}
    assert {r.label_counts["1"] for r in reports if r.task == "rte_train" and r.label_counts} == {627, 70}
    assert rows == {_name(file): wanted for file, (wanted, _) in (EXTRA | LABELLED).items()}


def _name(file: str) -> str:
    return file.split(".")[0].replace("-", "_")
