"""The configuration reference is what the models say, and says something of every key."""

import json
import re
from collections.abc import Iterator
from typing import Any

import cluster
from multitask.config import SPLITS, RunConfig
from multitask.config.reference import keys, reference, sections
from tests.docs.pages import PAGES, ROOT, code_spans

PAGE = ROOT / "docs" / "configuration.md"


def properties() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Model, key and schema of every key, as pydantic's own JSON schema has them."""
    schema = RunConfig.model_json_schema()
    for model, own in {"RunConfig": schema, **schema["$defs"]}.items():
        for key, found in own["properties"].items():
            yield model, key, found


def test_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(), "run `make reference`"


def test_every_key_has_a_description() -> None:
    missing = [f"{model}.{key}" for model, key, own in properties() if "const" not in own and "description" not in own]
    assert not missing, missing


def test_every_key_and_default_of_the_schema_is_on_the_page() -> None:
    rows = [line.split(" | ") for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    cells = {(row[0].removeprefix("| ").strip("`").rpartition(".")[2], row[2].strip("`")) for row in rows}
    plain = 0
    for model, key, own in properties():
        default = own.get("default")
        if "const" in own or isinstance(default, dict | list | None) or default == "":
            continue
        plain += 1
        text = default if isinstance(default, str) else json.dumps(default)
        assert (key, text) in cells, f"{model}.{key}"
    assert plain > 40


def test_every_choice_has_a_heading() -> None:
    text = PAGE.read_text(encoding="utf-8")
    names = {own["const"] for _, _, own in properties() if "const" in own}
    assert {"pcgrad", "annealed", "lora", "mlp"} <= names
    for name in names:
        assert f"### `name: {name}`" in text


def test_every_section_is_reached_once() -> None:
    found = [(section.path, section.choice) for section in sections()]
    assert len(found) == len(set(found))
    assert len({section.model for section in sections()}) == len(RunConfig.model_json_schema()["$defs"]) + 1


def test_keys_in_the_text_exist() -> None:
    known = {key for section in sections() for key, _ in keys(section)}
    known |= {f"{section.path}.name" for section in sections() if section.choice} | {
        section.path for section in sections()
    }
    # `cluster` is a section of the config and a package, whose functions have other names than the section's keys.
    known |= {f"cluster.{name}" for name in cluster.__all__}
    known |= {f"tasks.NAME.files.{split}" for split in SPLITS}
    tops = {name for name, own in RunConfig.model_fields.items() if f"{name}." in " ".join(known)}
    found = 0
    for page in PAGES:
        for span in code_spans(page):
            key = re.sub(r"(?<=^phases\.)\d+", "N", span.partition("=")[0])
            key = re.sub(r"(?<=^tasks\.)(sst|quora|sts)\b", "NAME", re.sub(r"\.\d+$", "", key))
            if (
                re.fullmatch(r"\w+(\.\w+)+", key)
                and key.partition(".")[0] in tops
                and not key.endswith((".py", ".sh", ".yaml"))
            ):
                found += 1
                assert key in known, f"{page.name}: {span}"
    assert found > 15


def test_every_strategy_and_combination_is_on_the_page_of_methods() -> None:
    spans = " ".join(code_spans(ROOT / "docs" / "methods.md"))
    for section in sections():
        if section.path in ("phases.N.sampling", "combination", "encoder.adapter") and section.choice != "none":
            assert section.choice in spans, section
