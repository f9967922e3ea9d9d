"""The project's Markdown pages, taken apart: links, headings, blocks of code, and the commands in them."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from multitask.config.reference import anchor

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "multitask" / "sample" / "README.md",
]
_FENCE = re.compile(r"^```(\w*)$")
_CODE = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block of code."""

    page: Path
    line: int
    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page."""
    found, start, language = [], 0, ""
    lines = page.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        if fence := _FENCE.match(line):
            if start:
                found.append(Block(page, start, language, "\n".join(lines[start : number - 1]) + "\n"))
            start, language = (0, "") if start else (number, fence[1])
    assert not start, f"{page}:{start}: a block is not closed"
    return found


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"(?ms)^```.*?^```$", "", page.read_text(encoding="utf-8"))


def links(page: Path) -> list[str]:
    """Targets of the links and images."""
    return _LINK.findall(re.sub(_CODE, "", prose(page)))


def anchors(page: Path) -> set[str]:
    """What a link to a heading of the page may say after its `#`."""
    found: set[str] = set()
    for heading in re.findall(r"(?m)^#+ (.+)$", prose(page)):
        name, number = anchor(heading), 1
        while name in found:
            name, number = f"{anchor(heading)}-{number}", number + 1
        found.add(name)
    return found


def code_spans(page: Path) -> list[str]:
    """Code within the text and tables."""
    return [span.replace("\\|", "|") for span in _CODE.findall(prose(page))]


def shell_lines(page: Path) -> Iterator[list[str]]:
    """The words of every line of the page's shell blocks and of every command in its text."""
    lines = [line for block in blocks(page) if block.language == "bash" for line in _joined(block.text)]
    lines += [span for span in code_spans(page) if span.startswith(("concord ", "torchrun ", "python -m ", "make "))]
    for line in lines:
        if words := shlex.split(line, comments=True):
            yield words


def concord_commands() -> list[tuple[str, ...]]:
    """The arguments of every `concord …` on the pages, each once."""
    found: dict[tuple[str, ...], None] = {}
    for page in PAGES:
        for words in shell_lines(page):
            for start in ("concord", "cluster.cli"):
                if start in words:
                    found[tuple(words[words.index(start) + 1 :])] = None
    return list(found)


def _joined(text: str) -> list[str]:
    return text.replace("\\\n", " ").splitlines()
