"""The environment of the tests, set before torch, transformers, Ray or W&B are imported, and the shared fixtures."""

import io
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


def _set_environment() -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ.setdefault("WANDB_MODE", "offline")
    # DeepSpeed builds its CPU extension with the ninja that lies beside this Python.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    os.environ.setdefault("TORCH_EXTENSIONS_DIR", str(Path.home() / ".cache/concord/torch_extensions"))


_set_environment()
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what it runs in the background, as `make test` does with some of the tests, deaf to Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest  # noqa: E402
import torch  # noqa: E402

from tests.builders import build_tiny_bert, tiny_config, write_tiny_tasks  # noqa: E402

if not torch.cuda.is_available():
    os.environ.setdefault("DS_ACCELERATOR", "cpu")


class Ended(NamedTuple):
    """What a command left."""

    code: int
    out: str
    err: str


@pytest.fixture
def concord(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Runs `concord ARGUMENT…` in this process: its imports take longer than most commands."""
    from cluster.cli import main

    def run(*arguments: str, stdin: str = "") -> Ended:
        monkeypatch.setattr("sys.argv", ["concord", *arguments])
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        capsys.readouterr()
        code = None
        try:
            main()
        except SystemExit as end:
            code = end.code
        return Ended(int(code or 0), *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of the full data sets, beside the repository."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not (folder / "ids-sst-train.csv").is_file():
        pytest.skip("the full data sets are not there: ../shared/data/ids-sst-train.csv")
    return folder


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a random two-layer BERT of width 32 without dropout, with its tokenizer."""
    return build_tiny_bert(tmp_path_factory.mktemp("tiny-bert"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A folder that the tests of a module share, with the files of three tiny tasks."""
    path = tmp_path_factory.mktemp(request.module.__name__.rpartition(".")[2])
    write_tiny_tasks(path)
    return path


@pytest.fixture
def tiny_tasks(tmp_path: Path, tiny_bert: Path) -> dict:
    """A recipe tree for `parse_config`: three tiny tasks with their files in `tmp_path`, on `tiny_bert`."""
    write_tiny_tasks(tmp_path)
    return tiny_config(tmp_path, encoder={"name": str(tiny_bert)})
