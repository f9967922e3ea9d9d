"""Commands on the pages: each parses as it stands, and runs on the sample with a tiny encoder unless it is listed here.

What is listed parses all the same, so that an option or a command that goes must go from the pages, too.
"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from cluster.cli.app import app
from cluster.sweeps.options import SCHEDULERS, SEARCHES
from tests.docs.conftest import run, tiny
from tests.docs.pages import PAGES, ROOT, code_spans, concord_commands, shell_lines
from tune_spaces import shipped_spaces

# A command that is only named in the text, such as `concord best`, has nothing but its name.
NAMED = {
    ("train",),
    ("submit",),
    ("best",),
    ("sweep",),
    ("data", "check"),
    ("wandb",),
    ("report",),
    ("doctor",),
    ("cluster", "init"),
}
COMMANDS = [own for own in concord_commands() if own not in NAMED]
# What needs a running Ray, another machine or W&B's server. `tests/integration` runs it.
ELSEWHERE = {
    ("sweep", "resume"): "trains on Ray",
    ("sweep", "stop"): "needs a sweep that runs",
    ("sweep", "enqueue"): "needs points",
    ("best", "--refit"): "trains on Ray",
    ("best", "--confirm"): "trains on Ray",
    ("best", "--export"): "needs the checkpoints of a sweep",
    ("wandb", "dashboard"): "asks W&B's server",
    ("wandb", "publish"): "asks W&B's server",
    ("submit", "submit"): "needs a cluster",
    ("jobs", "jobs"): "needs a cluster",
    ("logs", "logs"): "needs a cluster",
    ("stop", "stop"): "needs a cluster",
}
# Of `concord sweep`, what trains nothing.
AS_THEY_STAND = ("status", "list", "spaces", "trials", "export-study")
PLACEHOLDERS = {
    "RECIPE": "main",
    "NAME": "main-default",
    "tasks.quora.files.dev=[quora-dev-1000.csv]": "tasks.quora.files.dev=[quora-dev.parquet]",
}


def leaves(command: Any) -> Iterator[Any]:
    """All commands that are no groups."""
    yield command
    for own in getattr(command, "commands", {}).values():
        yield from leaves(own)


def names(arguments: tuple[str, ...]) -> list[str]:
    """The arguments with what the sample has in place of `RECIPE`, `NAME` and files of the full data."""
    return [PLACEHOLDERS.get(word, word) for word in arguments]


def elsewhere(arguments: tuple[str, ...]) -> bool:
    """Whether it is listed as run elsewhere."""
    return any(arguments[0] == command and word in arguments for command, word in ELSEWHERE)


@pytest.fixture(scope="module")
def parser() -> Any:
    """The command line, of which nothing does anything."""
    command = typer.main.get_command(app)
    for leaf in leaves(command):
        leaf.callback = lambda **_: None
    return command


def small(arguments: list[str], folder: Path) -> list[str]:
    """The command on the sample with a tiny encoder; one that would train shows what it would do."""
    on_sample = [*(["+sample"] if "+sample" not in arguments and "demo" not in arguments else []), *tiny(folder)]
    if arguments[0] == "train":
        kept = [word for word in arguments if word not in ("--dry-run", "--restart")]
        return [*kept, *on_sample, "--dry-run"]
    if arguments[0] == "sweep" and arguments[1] not in AS_THEY_STAND:
        return [*(word for word in arguments if word != "--dry-run"), *on_sample, "--dry-run"]
    if arguments[0] == "diagnose":
        return [*arguments, *on_sample, "--steps", "4", "--every", "2"]
    if arguments[0] == "profile":
        return [*arguments, *on_sample, "--steps", "2"]
    if arguments[0] == "plan":
        return [*arguments, *on_sample]
    if arguments[:2] in (["data", "check"], ["wandb", "sweep"], ["recipes", "show"]):
        return [*arguments, *on_sample]
    if arguments[:2] == ["wandb", "sync"]:
        return [*(word for word in arguments if word != "--dry-run"), "--dry-run"]
    return arguments


def test_pages_have_commands() -> None:
    assert len(COMMANDS) > 40
    assert {"train", "sweep", "best", "export", "predict", "evaluate", "report", "recipes", "data", "wandb"} <= {
        arguments[0] for arguments in COMMANDS
    }


@pytest.mark.parametrize("arguments", COMMANDS, ids=shlex.join)
def test_command_parses_as_it_stands(parser: Any, arguments: tuple[str, ...]) -> None:
    parser.main(names(arguments), standalone_mode=False)


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [own for own in COMMANDS if not elsewhere(own)], ids=shlex.join)
def test_command_runs(place: Path, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    assert run(small(names(arguments), place)) or "-o" in arguments


def test_commands_that_are_named_exist() -> None:
    for arguments in NAMED:
        run([*arguments, "--help"])


def test_options_in_the_text_exist(parser: Any) -> None:
    options = {name for leaf in leaves(parser) for own in leaf.params for name in own.opts}
    for page in PAGES:
        for span in code_spans(page):
            if span.startswith("--"):
                assert span.split()[0] in options, f"{page.name}: {span}"


def test_searches_schedulers_and_spaces_in_the_text_exist() -> None:
    spaces = list(shipped_spaces())
    known = {"--search": SEARCHES, "--scheduler": SCHEDULERS, "--space": spaces}
    for page in PAGES:
        for span in code_spans(page):
            option, _, value = span.partition(" ")
            if option in known and ":" not in value and not value.endswith(".yaml"):
                assert value in known[option], f"{page.name}: {span}"
    told = code_spans(ROOT / "docs" / "sweeps.md")
    for name in (*SEARCHES, *SCHEDULERS[1:], *spaces):
        assert any(name in span.split() for span in told), name


def test_programs_and_make_targets_exist() -> None:
    targets = set(re.findall(r"(?m)^([a-z]+):", (ROOT / "Makefile").read_text()))
    for page in PAGES:
        for words in shell_lines(page):
            if words[0] == "make":
                assert set(words[1:]) <= targets, f"{page.name}: {words}"
            if "-m" in words and not words[words.index("-m") + 1].startswith(("pytest", "cluster.cli")):
                module = ROOT / words[words.index("-m") + 1].replace(".", "/")
                assert module.with_suffix(".py").is_file() or module.is_dir(), f"{page.name}: {words}"
