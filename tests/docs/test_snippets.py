"""Python on the pages runs as it stands, on an export of the sample; the recipe `demo` is one with a tiny encoder and few steps."""

from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, Block, blocks

pytestmark = pytest.mark.slow
SNIPPETS = [block for page in PAGES for block in blocks(page) if block.language == "python"]


@pytest.mark.parametrize("block", SNIPPETS, ids=lambda block: f"{block.page.relative_to(ROOT)}:{block.line}")
def test_snippet_runs(place: Path, block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    text = block.text.replace('"demo"', repr(str(place / "tiny-demo.yaml")))
    exec(compile(text, str(block.page), "exec"), {"__name__": "snippet"})
