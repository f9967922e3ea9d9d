"""The page of methods lists every loss combination with what its config says."""

from pathlib import Path

from multitask.config.combination.catalogue import method_classes, with_catalogue

PAGE = Path(__file__).parents[2] / "docs" / "methods.md"


def test_page_is_current() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == with_catalogue(text), "run `make reference`"


def test_every_method_has_a_row() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for name, own in method_classes().items():
        assert f"| `{name}`" in text
        assert own.ABOUT.when in text


def test_readme_counts_them() -> None:
    readme = (PAGE.parents[1] / "README.md").read_text(encoding="utf-8")
    assert f"another of {len(method_classes())} loss combinations" in " ".join(readme.split())
