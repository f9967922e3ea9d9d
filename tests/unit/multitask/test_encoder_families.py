"""Every family of the table in docs/encoders.md trains, exports and loads back; the table says what was seen."""

import re
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from multitask.config import parse_config
from multitask.errors import UserError
from multitask.model import build_model
from multitask.model.loading import auto_class
from tests.encoder_families import FAMILIES, REFUSED, family_tree, prepare_folder, refused_row, save_family, table_row
from tests.encoder_families import train_family as train

PAGE = Path(__file__).parents[3] / "docs" / "encoders.md"
TEXT = "a superb film, and the actor is charming"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("families")
    prepare_folder(folder)
    return folder


@pytest.mark.parametrize("name", FAMILIES)
def test_family_trains_exports_and_loads_back(name: str, folder: Path) -> None:
    family = FAMILIES[name]
    config = parse_config(family_tree(folder, save_family(family, folder, name), **family.needs), name)
    trainer, start = train(config)
    trained = trainer._trained("finished")
    moved = [n for n, value in trained.weights.items() if not torch.equal(value, start[n])]
    assert any(n.startswith("encoder.") for n in moved)
    export = trained.export(folder / f"{name} export")
    plain, loading = auto_class(trainer.model.encoder.model.config).from_pretrained(export, output_loading_info=True)
    assert {key: value for key, value in loading.items() if value} == {}
    tokenizer = AutoTokenizer.from_pretrained(export)
    inputs = tokenizer(TEXT, return_tensors="pt", padding=family.needs.get("padding", False), max_length=32)
    inputs.pop("token_type_ids", None)
    with torch.no_grad():
        states, mask = plain.eval()(**inputs).last_hidden_state, inputs["attention_mask"].unsqueeze(-1)
    torch.testing.assert_close(
        torch.from_numpy(trained.predictor.embed([TEXT])), (states * mask).sum(1) / mask.sum(1), rtol=1e-4, atol=1e-5
    )
    assert table_row(name, trainer) in PAGE.read_text(encoding="utf-8").splitlines(), "run `make reference`"


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.needs])
def test_what_a_family_needs_is_said_by_its_refusal(name: str, folder: Path) -> None:
    ((key, value),) = FAMILIES[name].needs.items()
    tree = family_tree(folder, save_family(FAMILIES[name], folder, f"{name} alone"))
    with pytest.raises(UserError, match=rf"^encoder\.{key}: .* say encoder\.{key}={value}$"):
        build_model(parse_config(tree, name))


@pytest.mark.parametrize("name", REFUSED)
def test_refused_family_is_refused_in_one_line(name: str, folder: Path) -> None:
    tree = family_tree(folder, save_family(REFUSED[name][0], folder, name))
    with pytest.raises(UserError, match=r"^encoder\.name: ") as error:
        build_model(parse_config(tree, name))
    assert len(str(error.value).splitlines()) == 1
    assert refused_row(name) in PAGE.read_text(encoding="utf-8").splitlines()


def test_page_has_no_row_of_other_families() -> None:
    rows = re.findall(r"^\| ([^|]+) \| `\w+` \|", PAGE.read_text(encoding="utf-8"), re.M)
    assert rows == [*FAMILIES, *REFUSED]
