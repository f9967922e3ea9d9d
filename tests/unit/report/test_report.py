"""The report's page: what it says of runs made by hand, whole, broken and odd."""

import json
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster.report import write_report
from cluster.report.source import open_source
from multitask.config import parse_config
from multitask.errors import UserError

EVIL = '<script>alert("x")</script> & "quotes" 🌍 שלום ' + "long" * 400


def _write(folder: Path, tree: dict[str, Any], **changes: Any) -> Path:
    """A run folder as a finished run leaves it, with numbers that are easy to find again."""
    config = parse_config(tree | changes, "test")
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(json.dumps(config.to_dict()))
    dev = {"dev/sst/accuracy": 0.4321, "dev/sst/macro_f1": 0.4, "dev/quora/accuracy": 0.8765, "dev/quora/macro_f1": 0.8}
    dev |= {"dev/sts/pearson": 0.7654, "dev/sts/spearman": 0.7, "dev/mean": 0.6913}
    position = {"step": 10, "epoch": 1.0, "phase": 0}
    train = {f"train/loss/{task}": 0.5 for task in ("sst", "quora", "sts")} | {"train/lr": 1e-3}
    train |= {f"combination/weight/{task}": 1.0 for task in ("sst", "quora", "sts")}
    train |= {"combination/cosine/sst-quora": -0.25}
    history = {
        "train": [position | train, position | train | {"step": 20, "combination/weight/sst": 0.5}],
        "dev": [position | dev, position | dev | {"step": 20}],
    }
    (folder / "history.json").write_text(json.dumps(history))
    result = {
        "status": "finished",
        "steps": 20,
        "step": 20,
        "best_step": 20,
        "best_score": 0.6913,
        "workers": 2,
        "tokens_per_s": 1234.5,
        "skipped_steps": 0,
        "baseline": {key: value / 2 for key, value in dev.items()},
        "history": [{"step": 20, "epoch": 1.0, **dev}],
        "seconds": {"forward/backward": 12.5, "combine": 0.5, "start": 0.0},
    }
    (folder / "result.json").write_text(json.dumps(result))
    row = ["id-1", EVIL, "second <b>text</b>", 1.0, 0.0]
    columns = ["id", "text", "text_pair", "label", "prediction"]
    tables = {
        "confusion/sst": {"labels": list("01234"), "matrix": [[7, 1, 0, 0, 0]] * 5},
        "worst/sst": {"columns": columns, "rows": [row]},
        "confusion/quora": {"labels": ["no", "yes"], "matrix": [[50, 3], [4, 43]]},
        "worst/quora": {"columns": columns, "rows": [row]},
        "false_positives/quora": {"columns": columns, "rows": []},
        "false_negatives/quora": {"columns": columns, "rows": [row]},
        "scatter/sts": {"columns": ["label", "prediction"], "rows": [[0.0, 0.5], [5.0, 4.0], [2.0, 2.5]]},
        "worst/sts": {"columns": columns, "rows": [["s", "a", "b", 5.0, 0.25]]},
    }
    (folder / "best_tables.json").write_text(json.dumps(tables))
    return folder


def _page(*places: Path, output: Path) -> str:
    return write_report([str(place) for place in places], str(output)).read_text()


def _titles(page: str) -> list[str]:
    return re.findall(r"<h4>(.*?)</h4>", page)


def test_run_has_every_figure_score_and_text(tmp_path: Path, tiny_tasks: dict[str, Any]) -> None:
    page = _page(_write(tmp_path / "run", tiny_tasks), output=tmp_path / "page.html")
    assert _titles(page) == [
        "Training loss of each task",
        "Dev score of each task",
        "Learning rate",
        "Agreement of the tasks&#39; gradients",
        "Weight of each task",
        "sst: predicted against true classes",
        "sst: over- and under-predicted classes",
        "quora: predicted against true classes",
        "quora: over- and under-predicted classes",
        "sts: predictions against labels",
        "Seconds by part",
    ]
    assert page.count("<figcaption>") == page.count("<figure>") == page.count("<svg ") == 11
    for told in ("0.4321", "0.2160", "0.7654", "1,234", "Pearson r = 0.765", "False negatives", "False positives"):
        assert told in page, told
    for count in ("50", "43", "12.5"):
        assert re.search(rf">\s*{re.escape(count)}\s*<", page), count
    assert "round_robin" in page


def test_page_is_one_file_and_text_is_escaped(tmp_path: Path, tiny_tasks: dict[str, Any]) -> None:
    page = _page(_write(tmp_path / "run", tiny_tasks, description="<img src=x>"), output=tmp_path / "page.html")
    assert "<script" not in page
    assert "<b>" not in page
    assert "<img" not in page
    assert "&lt;script&gt;alert" in page
    assert "שלום" in page
    assert not re.search(r"(?:src|href)=\"(?!#|data:)", page)
    assert "@import" not in page
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', page))
    assert used <= set(ids)
    colours = set(re.findall(r"#0000[0-9a-f]{2}\b|#00010[1-3]\b", page))
    assert not colours, colours


def test_several_runs_are_compared(tmp_path: Path, tiny_tasks: dict[str, Any]) -> None:
    one = _write(tmp_path / "one", tiny_tasks, name="one")
    two = _write(tmp_path / "two", tiny_tasks, name="two", seed=77)
    result = json.loads((two / "result.json").read_text())
    result["history"][0]["dev/sst/accuracy"] = 0.5
    (two / "result.json").write_text(json.dumps(result))
    page = _page(one, two, output=tmp_path / "page.html")
    row = re.search(r'<th scope="row">sst accuracy</th>(.*?)</tr>', page)
    assert row is not None
    assert re.findall(r'<td class="n( best)?">([\d.]+)</td>', row[1]) == [("", "0.4321"), (" best", "0.5000")]
    differences = page[page.index("What differs") :]
    assert re.search(r'<td class="key">seed</td><td class="value">1</td><td class="value">77</td>', differences)
    assert len(re.findall(r'<td class="key">', page)) == 1
    assert "Mean dev score" in _titles(page)


@pytest.mark.parametrize("missing", ["history.json", "result.json", "best_tables.json"])
def test_unfinished_run_gives_a_page(tmp_path: Path, tiny_tasks: dict[str, Any], missing: str) -> None:
    run = _write(tmp_path / "run", tiny_tasks)
    (run / missing).unlink()
    page = _page(run, output=tmp_path / "page.html")
    assert ("there are no curves of the training" in page) == (missing == "history.json")
    assert ("has not been evaluated yet" in page) == (missing == "result.json")
    assert ("what it gets wrong" in page) == (missing != "best_tables.json")


def test_scores_that_are_no_numbers_are_said(tmp_path: Path, tiny_tasks: dict[str, Any]) -> None:
    run = _write(tmp_path / "run", tiny_tasks)
    text = (
        (run / "result.json")
        .read_text()
        .replace("0.4321", "NaN")
        .replace('"tokens_per_s": 1234.5', '"tokens_per_s": null')
    )
    (run / "result.json").write_text(text)
    page = _page(run, output=tmp_path / "page.html")
    assert "not a number" in page
    assert "unknown" in page


def test_report_lies_in_the_run_unless_told_otherwise(tmp_path: Path, tiny_tasks: dict[str, Any]) -> None:
    run = _write(tmp_path / "run", tiny_tasks)
    assert write_report([str(run)]) == run / "report.html"


@pytest.mark.parametrize("file", ["config.yaml", "result.json", "history.json", "best_tables.json"])
def test_damaged_file_is_one_line_that_names_it(tmp_path: Path, tiny_tasks: dict[str, Any], file: str) -> None:
    run = _write(tmp_path / "run", tiny_tasks)
    (run / file).write_text("{")
    with pytest.raises(UserError, match=f"{re.escape(file)}: not valid") as error:
        write_report([str(run)])
    assert len(str(error.value).splitlines()) == 1


def test_what_is_no_run_is_one_line(tmp_path: Path, tiny_tasks: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="is neither a run folder"):
        open_source(str(tmp_path))
    run = _write(tmp_path / "run", tiny_tasks)
    with pytest.raises(UserError, match="--output: cannot write"):
        write_report([str(run)], str(run / "result.json" / "page.html"))


def test_counts_and_classes_are_those_of_the_matrix(tmp_path: Path, tiny_tasks: dict[str, Any]) -> None:
    page = _page(_write(tmp_path / "run", tiny_tasks), output=tmp_path / "page.html")
    summaries = [re.sub(r"\s+", " ", found) for found in re.findall(r"<summary>(.*?)</summary>", page)]
    assert "Worst errors (1 of 32 shown)" in summaries
    assert "False positives: said yes, the label is no; the surest first (0 of 3 shown)" in summaries
    assert "False negatives: said no, the label is yes; the surest first (1 of 4 shown)" in summaries
    assert "Worst errors (1 shown)" in summaries
    assert "Most over-predicted: no (+1 rows); most under-predicted: yes (−1 rows)." in page
    assert "Most over-predicted: 0 (+27 rows); most under-predicted: 2 (−8 rows)." in page
    assert '<td class="n">yes</td><td class="n">no</td>' in page
    assert '<td class="n">5</td><td class="n">0.25</td>' in page


def test_names_of_classes_and_tasks_may_hold_anything(tmp_path: Path, tiny_tasks: dict[str, Any]) -> None:
    tiny_tasks["tasks"] = {f"_{name}": task for name, task in tiny_tasks["tasks"].items()}
    run = _write(tmp_path / "run", tiny_tasks)
    for file in ("history.json", "result.json", "best_tables.json"):
        text = re.sub(r"/(sst|quora|sts)\b", r"/_\1", (run / file).read_text())
        (run / file).write_text(text.replace('"no"', '"$x^{$"').replace('"yes"', '"<i>🌍</i>"'))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        page = _page(run, output=tmp_path / "page.html")
    drawn = re.findall(r"<text [^>]*>(.*?)</text>", page)
    assert {"$x^{$", "&lt;i&gt;🌍&lt;/i&gt;", "_sst", "_quora", "_sts"} <= set(drawn)
    assert "<i>" not in page


def test_classes_in_order_are_counted_by_the_side_on_which_they_are_wrong(
    tmp_path: Path, tiny_tasks: dict[str, Any]
) -> None:
    matrix = [[5, 1, 2, 0, 0], [3, 9, 0, 0, 0], [0, 0, 9, 4, 0], [1, 0, 0, 9, 0], [0, 6, 0, 0, 9]]
    over, under = 1 + 2 + 4, 3 + 1 + 6
    pages = []
    for ordered in (True, False):
        tiny_tasks["tasks"]["sst"]["kind"]["ordered"] = ordered
        run = _write(tmp_path / f"run{ordered}", tiny_tasks)
        tables = json.loads((run / "best_tables.json").read_text())
        tables["confusion/sst"]["matrix"] = matrix
        (run / "best_tables.json").write_text(json.dumps(tables))
        pages.append(_page(run, output=tmp_path / "page.html"))
    said = f"Right of it, {over} rows are over-estimated; left of it, {under} under-estimated; {2 + 1 + 6} in all by more than one"
    assert pages[0].count(said) == 1
    assert "over-estimated" not in pages[1]


def test_scores_of_training_rows_stand_beside_those_of_dev_rows(tmp_path: Path, tiny_tasks: dict[str, Any]) -> None:
    run = _write(tmp_path / "run", tiny_tasks | {"training": {"score_train_rows": 7}})
    history = json.loads((run / "history.json").read_text())
    for point in history["dev"]:
        point["train/sst/accuracy"] = 0.9
    (run / "history.json").write_text(json.dumps(history))
    page = _page(run, output=tmp_path / "page.html")
    assert [title for title in _titles(page) if "training and dev" in title] == ["sst: score on training and dev rows"]
    assert "By accuracy; the same 7 training rows" in page


def test_many_long_class_names_are_thinned(tmp_path: Path, tiny_tasks: dict[str, Any]) -> None:
    tiny_tasks["tasks"]["sst"]["kind"]["classes"] = 30
    run = _write(tmp_path / "run", tiny_tasks)
    tables = json.loads((run / "best_tables.json").read_text())
    tables["confusion/sst"] = {
        "labels": [f"{i} " + "x" * 60 for i in range(30)],
        "matrix": np.eye(30, dtype=int).tolist(),
    }
    (run / "best_tables.json").write_text(json.dumps(tables))
    page = _page(run, output=tmp_path / "page.html")
    drawn = re.findall(r"<text [^>]*>(\d+ x+…)</text>", page)
    assert 10 <= len(set(drawn)) <= 12
    assert "Each class is predicted as often as it is true." in page


def test_failed_run_says_why(tmp_path: Path, tiny_tasks: dict[str, Any]) -> None:
    run = _write(tmp_path / "run", tiny_tasks)
    result = json.loads((run / "result.json").read_text())
    result |= {"status": "failed", "error": "3 steps had no <finite> loss", "notes": ["checkpoint 5 was damaged"]}
    (run / "result.json").write_text(json.dumps(result))
    page = _page(run, output=tmp_path / "page.html")
    assert "This run failed: 3 steps had no &lt;finite&gt; loss" in page
    assert "checkpoint 5 was damaged" in page


def test_run_without_history_has_the_dev_scores_of_its_result(tmp_path: Path, tiny_tasks: dict[str, Any]) -> None:
    run = _write(tmp_path / "run", tiny_tasks)
    (run / "history.json").unlink()
    titles = _titles(_page(run, output=tmp_path / "page.html"))
    assert "Dev score of each task" in titles
    assert "Training loss of each task" not in titles


def test_no_number_is_never_the_best(tmp_path: Path, tiny_tasks: dict[str, Any]) -> None:
    runs = [_write(tmp_path / name, tiny_tasks, name=name) for name in ("one", "two")]
    (runs[0] / "result.json").write_text((runs[0] / "result.json").read_text().replace("0.4321", "NaN"))
    page = _page(*runs, output=tmp_path / "page.html")
    row = re.search(r'<th scope="row">sst accuracy</th>(.*?)</tr>', page)
    assert row is not None
    assert re.findall(r'<td class="n( best)?">(.*?)</td>', row[1]) == [("", "not a number"), (" best", "0.4321")]
