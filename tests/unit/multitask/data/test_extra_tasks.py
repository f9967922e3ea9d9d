"""The further real data sets, and CFIMDB: each is a task by its declaration alone."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from multitask.config import RunConfig
from multitask.data import load_tokenizer, prepare, tokenizer_id

MakeConfig = Callable[..., RunConfig]

CONTRASTIVE = {"kind": {"name": "contrastive"}}
BINARY = {"kind": {"name": "binary"}, "format": "cs224n"}
FIVE = {"kind": {"name": "classification", "classes": 5}, "format": "cs224n"}
PAIR = {"text": "sentence1", "text_pair": "sentence2"}
CROSS = {"pair_encoding": {"name": "cross_encoder"}}
# Some rows of CoLA and RTE share their ids, which are therefore left out.
COLA = BINARY | {"columns": {"text": "sentence", "label": "label"}}
RTE = {
    "kind": {"name": "binary", "labels": ["not_entailment", "entailment"]},
    "format": "cs224n",
    "columns": PAIR | {"label": "label"},
    **CROSS,
}
REVIEWS = FIVE | {"columns": {"id": "id", "text": "sentence", "label": "sentiment"}}
TASKS: dict[str, dict[str, Any]] = {
    "extra/nli-simcse-triplets.csv": CONTRASTIVE
    | {"format": "csv", "columns": {"text": "sent0", "text_pair": "sent1", "negative": "hard_neg"}},
    "extra/quora-extra-positives.csv": CONTRASTIVE | {"format": "cs224n", "columns": {"id": "id", **PAIR}},
    "extra/wiki-sentences.txt": CONTRASTIVE | {"columns": {"text": "text"}},
    "extra/quora-questions-unlabelled.txt": CONTRASTIVE | {"columns": {"text": "text"}},
    "extra/kindle15k.csv": REVIEWS,
    "extra/rotten15k.csv": REVIEWS,
    # Long reviews, most of which are cut.
    "ids-cfimdb-train.csv": BINARY | {"columns": {"id": "id", "text": "sentence", "label": "sentiment"}},
    "extra/mrpc-train.csv": BINARY | CROSS | {"columns": {"id": "id", **PAIR, "label": "is_duplicate"}},
    "extra/rte-train.csv": RTE,
    "extra/rte-dev.csv": RTE,
    "extra/cola-train.csv": COLA,
    "extra/cola-dev.csv": COLA,
    "extra/sts12-16-extra.csv": CROSS
    | {"kind": {"name": "regression", "low": 0, "high": 5}, "format": "cs224n"}
    | {"columns": {"id": "id", **PAIR, "label": "similarity"}},
}


@pytest.fixture(scope="module")
def tokenizer(encoder_folder: str) -> PreTrainedTokenizerFast:
    return load_tokenizer(encoder_folder)


@pytest.mark.parametrize("file", TASKS)
def test_real_file_is_a_task_by_config_only(
    shared_data: Path, make_config: MakeConfig, tokenizer: PreTrainedTokenizerFast, file: str
) -> None:
    """Rows, texts and labels are those that the standard library reads."""
    task = TASKS[file]
    auxiliary = {} if task["kind"]["name"] == "contrastive" else {"auxiliary": True}
    tree = make_config().to_dict()
    tree["tasks"] = {"t": task | auxiliary | {"files": {"train": file}}, "scored": tree["tasks"]["t"]}
    tree["encoder"]["dropout"] = 0.1
    tree["data"] |= {"root": str(shared_data), "max_length": 32}
    table = prepare(RunConfig.model_validate(tree), "t", "train", tokenizer, tokenizer_id(tokenizer))
    rows = _rows(shared_data / file, "," if task.get("format") == "csv" else "\t")
    columns = task["columns"]
    assert table.texts(range(table.rows)) == [
        (row[columns["text"]], row[columns["text_pair"]] if "text_pair" in columns else None) for row in rows
    ]
    if "label" in columns:
        names = task["kind"].get("labels")
        wanted = [float(names.index(row["label"])) if names else float(row[columns["label"]]) for row in rows]
        assert np.asarray(table.labels).tolist() == np.array(wanted, np.float32).tolist()
    else:
        assert np.isnan(np.asarray(table.labels)).all()
    texts = [column for role, column in columns.items() if role in ("text", "text_pair", "negative")]
    lengths = [[len(row[column].split()) for column in texts] for row in rows]
    framed = [sum(own) + 3 if "pair_encoding" in task else max(own) + 2 for own in lengths]
    assert table.metadata["truncated"] == sum(length > 32 for length in framed)
    assert np.asarray(table.lengths).tolist() == [min(32, length) for length in framed]


def _rows(path: Path, delimiter: str) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        if path.suffix == ".txt":
            return [{"text": line.strip()} for line in file if line.strip()]
        return list(csv.DictReader(file, delimiter=delimiter))
