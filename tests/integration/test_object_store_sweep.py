"""A sweep in an object store that is slow, refuses, breaks connections and is silent for a while comes to a disk's scores."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.storage.storage import Storage
from tests.builders import tiny_config
from tests.hosts.ray_cluster import wait_until
from tests.integration.commands import CONCORD, Command, write_recipe
from tests.object_store import BUCKET, ObjectStore, Proxy, Request, object_store, store_environment

pytestmark = [pytest.mark.ray, pytest.mark.long]
SPACE = {"parameters": {"optimizer.lr": {"loguniform": [1.0e-4, 1.0e-2]}}}
TRIALS, SILENT_S = 3, 40.0


class BadDays:
    """Every request takes a tenth of a second, one in 20 is refused, one in 50 cut; from `begin_silence` on none is answered for a while."""

    def __init__(self) -> None:
        self.number, self.refused, self._silent_until = 0, 0, 0.0

    def begin_silence(self) -> None:
        """All that is asked in the next `SILENT_S` is answered after them."""
        self._silent_until = time.monotonic() + SILENT_S

    def __call__(self, request: Request) -> Any:
        self.number += 1
        if (left := self._silent_until - time.monotonic()) > 0:
            return left
        if self.number % 20 == 0:
            self.refused += 1
            return 503
        return "cut" if self.number % 50 == 7 and request[0] == "PUT" else 0.1


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    with object_store(tmp_path_factory.mktemp("store")) as store:
        yield store


def _command(folder: Path, bert: Path, storage: str) -> list[str]:
    recipe = write_recipe(folder / "in-store.yaml", tiny_config(folder, encoder={"name": str(bert), "dropout": 0.2}))
    space = folder / "in-store-space.yaml"
    space.write_text(yaml.safe_dump(SPACE), encoding="utf-8")
    options = ["--space", str(space), "--trials", str(TRIALS), "--evaluations", "2", "--concurrent", "1"]
    return [*CONCORD, "sweep", str(recipe), *options, "--name", "in-store", "--storage", storage]


def _trials(storage: str) -> list[dict[str, Any]]:
    place = Storage(storage).below("in-store/trials")
    return [json.loads(place.read(f"{name}/trial.json")) for name in sorted(place.folders(""))]


def _told(storage: str) -> list[tuple[Any, ...]]:
    return [
        (trial["number"], trial["sample"], trial["status"], [report["scores"] for report in trial["reports"]])
        for trial in _trials(storage)
    ]


def test_a_killed_sweep_in_a_store_that_fails_comes_to_the_scores_of_a_disk(
    server: ObjectStore, folder: Path, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Command(_command(folder, tiny_bert, str(folder / "disk"))) as command:
        code, _, err = command.finish()
    assert code == 0, err
    storage, days, proxy = f"s3://{BUCKET}/sweeps", BadDays(), Proxy(server.port)
    for name, value in store_environment(proxy.port).items():
        monkeypatch.setenv(name, value)
    proxy.fault = days
    try:
        with Command(_command(folder, tiny_bert, storage)) as command:
            wait_until(
                lambda: Storage(storage).exists("in-store/trials/in-store-001/trial.json"), "the second trial", 300
            )
            command.kill()
        with Command([*CONCORD, "sweep", "resume", f"{storage}/in-store"]) as command:
            seen = days.number
            wait_until(lambda: days.number > seen + 60, "work on the sweep", 300)
            days.begin_silence()
            code, _, err = command.finish()
        assert code == 0, err
        proxy.mend()
        assert days.refused > 10
        assert _told(storage) == _told(str(folder / "disk"))
    finally:
        proxy.close()
