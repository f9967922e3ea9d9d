"""Python on the pages runs as it stands, on an export of the sample."""

from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, Block, blocks

pytestmark = pytest.mark.slow
SNIPPETS = [block for page in PAGES for block in blocks(page) if block.language == "python"]


@pytest.mark.parametrize("block", SNIPPETS, ids=lambda block: f"{block.page.relative_to(ROOT)}:{block.line}")
def test_snippet_runs(place: Path, block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    exec(compile(block.text, str(block.page), "exec"), {"__name__": "snippet"})
