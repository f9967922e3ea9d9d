"""Python on the pages runs as it stands, on an export of the sample; the recipe `demo` is one with a tiny encoder and few steps.

Blocks marked `py` would train for long: their calls are held against the signatures.
"""

import ast
import inspect
from pathlib import Path

import pytest

import cluster
from cluster.api.begin_sweep import SweepSettings
from cluster.api.sweep_result import SweepResult
from tests.docs.pages import PAGES, ROOT, Block, blocks

SNIPPETS = [block for page in PAGES for block in blocks(page) if block.language == "python"]
LONG = [block for page in PAGES for block in blocks(page) if block.language == "py"]
SIGNATURES = {
    "cluster.sweep": set(inspect.signature(cluster.sweep).parameters) | set(SweepSettings.__annotations__),
    "sweep.resume": set(inspect.signature(SweepResult.resume).parameters),
}


@pytest.mark.slow
@pytest.mark.parametrize("block", SNIPPETS, ids=lambda block: f"{block.page.relative_to(ROOT)}:{block.line}")
def test_snippet_runs(place: Path, block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    text = block.text.replace('"demo"', repr(str(place / "tiny-demo.yaml")))
    exec(compile(text, str(block.page), "exec"), {"__name__": "snippet"})


@pytest.mark.parametrize("block", LONG, ids=lambda block: f"{block.page.relative_to(ROOT)}:{block.line}")
def test_long_snippet_calls_what_there_is(block: Block) -> None:
    calls = [node for node in ast.walk(ast.parse(block.text)) if isinstance(node, ast.Call)]
    assert calls
    for call in calls:
        assert {keyword.arg for keyword in call.keywords} <= SIGNATURES[ast.unparse(call.func)]
