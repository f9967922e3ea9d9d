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


@pytest.mark.usefixtures("triplets")
def test_a_triplet_counts_as_cut_once_whichever_text_is_too_long(
    make_config: MakeConfig, tokenizer: PreTrainedTokenizerFast
) -> None:
    tree = _with_scored_task(make_config, columns=TRIPLETS).to_dict()
    tree["data"]["max_length"] = 4
    table = prepare(RunConfig.model_validate(tree), "t", "train", tokenizer, tokenizer_id(tokenizer))
    assert table.metadata["truncated"] == 1
    assert np.asarray(table.lengths).tolist() == [4, 4]


@pytest.mark.usefixtures("triplets")
def test_the_loss_own_settings_leave_the_prepared_table_as_it_is(
    make_config: MakeConfig, tokenizer: PreTrainedTokenizerFast
) -> None:
    kinds: list[dict[str, object]] = [{}, {"temperature": 1.0, "projection": "mlp"}]
    configs = [_with_scored_task(make_config, columns=TRIPLETS, kind={"name": "contrastive", **kind}) for kind in kinds]
    paths = {prepare(config, "t", "train", tokenizer, tokenizer_id(tokenizer)).path for config in configs}
    assert len(paths) == 1


def test_bad_utf8_costs_the_line_that_has_it(
    tmp_path: Path, make_config: MakeConfig, tokenizer: PreTrainedTokenizerFast
) -> None:
    file = tmp_path / "train.txt"
    file.write_bytes(b"w1 w2\n\nw3 \xff\n" + b"w4\n" * 200)
    tree = _with_scored_task(make_config, columns={"text": "text"}, files={"train": "train.txt"}).to_dict()
    with pytest.raises(UserError, match=r"train\.txt:3: text is not valid UTF-8"):
        prepare(RunConfig.model_validate(tree), "t", "train", tokenizer, tokenizer_id(tokenizer))
    tree["data"]["on_bad_rows"] = "skip"
    table = prepare(RunConfig.model_validate(tree), "t", "train", tokenizer, tokenizer_id(tokenizer))
    assert (table.rows, table.metadata["bad_rows"]) == (201, 1)
    assert table.texts([0, 1]) == [("w1 w2", None), ("w4", None)]
    assert table.ids([0, 1]) == ["train:1", "train:4"]


@pytest.mark.usefixtures("triplets")
def test_check_takes_rows_without_labels_and_tasks_without_dev_files(tmp_path: Path, make_config: MakeConfig) -> None:
    for name in ("scored.csv", "dev.csv"):
        (tmp_path / name).write_text("id,text,label\n1,w1,0\n2,w2,1\n")
    tree = _with_scored_task(make_config, columns=TRIPLETS).to_dict()
    tree["tasks"]["scored"]["files"]["train"] = ["scored.csv"]
    tree["tasks"]["more"] = {**tree["tasks"]["scored"], "auxiliary": True, "files": {"train": ["scored.csv"]}}
    reports = check(RunConfig.model_validate(tree))
    splits = [("scored", "train"), ("scored", "dev"), ("t", "train"), ("more", "train")]
    assert [(report.task, report.split) for report in reports] == splits
    assert (reports[2].rows, reports[2].label_counts, reports[2].label_quantiles) == (2, None, None)
    assert reports[2].token_lengths.maximum == 5
