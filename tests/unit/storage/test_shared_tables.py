"""One host tokenises; the others take its tables from the storage, and tokenise themselves where those are not whole."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.storage.shared_tables import SharedTables
from cluster.storage.storage import Storage
from cluster.training.worker import open_tables
from multitask.config import RunConfig, parse_config
from multitask.data import Tables, prepare_tables


@pytest.fixture
def config(tiny_tasks: dict[str, Any]) -> RunConfig:
    return parse_config(tiny_tasks, "test")


def _on_host(config: RunConfig, cache: Path) -> RunConfig:
    return config.model_copy(update={"data": config.data.model_copy(update={"cache": str(cache)})})


@pytest.fixture
def tokenised(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of what is tokenised from here on."""
    module, names = sys.modules["multitask.data.tokenised"], []
    write = module._write  # type: ignore[attr-defined]

    def counted(path: Path, *rest: Any) -> Any:
        names.append(path.name)
        return write(path, *rest)

    monkeypatch.setattr(module, "_write", counted)
    return names


def _open(config: RunConfig, rank: int, hosts: int) -> Tables:
    """As that rank of a run with one rank on each of `hosts`, when its turn comes."""
    agreement = SimpleNamespace(gather=lambda value: hosts * [value], on_every_rank=lambda action: action())
    return open_tables(config, SimpleNamespace(agreement=agreement, rank=rank, local_rank=0))  # type: ignore[arg-type]


def _published(config: RunConfig) -> list[Path]:
    return sorted(Path(config.cluster.storage, ".tables").glob("*"))


def test_hosts_take_what_the_first_one_tokenised(config: RunConfig, tmp_path: Path, tokenised: list[str]) -> None:
    first, second = (_on_host(config, tmp_path / name) for name in ("first", "second"))
    one = _open(first, 0, 2)
    assert len(tokenised) == len(set(tokenised)) == len(list(one.all())) == 6
    other = _open(second, 1, 2)
    assert len(tokenised) == 6, "nothing is tokenised twice"
    for table, same in zip(one.all(), other.all(), strict=True):
        assert Path(table.path).read_bytes() == Path(same.path).read_bytes()
    assert len(_published(config)) == 2 * 6
    assert not list(tmp_path.glob("second/*.tmp"))


@pytest.mark.parametrize("damage", ["torn", "altered", "no note", "torn note", "gone"])
def test_tables_that_are_not_whole_are_not_taken(
    config: RunConfig, tmp_path: Path, tokenised: list[str], damage: str
) -> None:
    wanted = _open(_on_host(config, tmp_path / "first"), 0, 2)
    table, note = next((file, file.with_name(f"{file.name}.json")) for file in _published(config))
    data = bytearray(table.read_bytes())
    if damage == "torn":
        table.write_bytes(data[: len(data) // 2])
    elif damage == "altered":
        data[len(data) // 2] ^= 1
        table.write_bytes(data)
    elif damage == "no note":
        note.unlink()
    elif damage == "torn note":
        note.write_bytes(b'{"sha')
    else:
        table.unlink()
    tokenised.clear()
    found = _open(_on_host(config, tmp_path / "second"), 1, 2)
    assert tokenised == [table.name]
    for one, other in zip(wanted.all(), found.all(), strict=True):
        assert Path(one.path).read_bytes() == Path(other.path).read_bytes()


def test_one_host_alone_publishes_nothing(config: RunConfig, tmp_path: Path) -> None:
    _open(_on_host(config, tmp_path / "first"), 0, 1)
    assert not _published(config)


def test_table_is_published_once(config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, sent = SharedTables(Storage(str(tmp_path / "runs"))), []
    monkeypatch.setattr(Storage, "upload_file", lambda self, file, path: sent.append(path))
    tables = prepare_tables(_on_host(config, tmp_path / "first"))
    for _ in range(2):
        for table in tables.all():
            store.publish(Path(table.path))
    assert len(sent) == len(set(sent)) == 6
