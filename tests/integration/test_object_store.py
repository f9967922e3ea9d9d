"""A run in an object store: one owner, waits for a store that fails, one line for one that refuses, the bits of a disk's run."""

import json
import multiprocessing
import os
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.storage.checkpoint import find_checkpoint
from cluster.storage.fence import LeaseLostError
from cluster.storage.lease import Lease, LeaseHeldError
from cluster.storage.lease_record import Launch
from cluster.storage.run_folder import RunFolder
from cluster.storage.storage import Storage
from cluster.storage.store_error import StoreError
from tests.builders import tiny_config
from tests.conftest import Ended
from tests.integration.commands import CONCORD, Command, final_files, run_concord, write_recipe
from tests.object_store import BUCKET, SECRET, ObjectStore, Proxy, Request, object_store, store_environment

ROUNDS, WRITERS = 20, 4


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    with object_store(tmp_path_factory.mktemp("store")) as store:
        yield store


@pytest.fixture
def proxy(server: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """Between this process, with its environment, and the server."""
    between = Proxy(server.port)
    for name, value in store_environment(between.port).items():
        monkeypatch.setenv(name, value)
    yield between
    between.close()


@pytest.fixture
def place(request: pytest.FixtureRequest) -> str:
    """A URI of the test's own."""
    return f"s3://{BUCKET}/{request.node.originalname}-{secrets.token_hex(4)}"


@pytest.fixture
def in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few and short pauses: pyarrow's own client tries three times in between."""
    for name in ("FIRST_PAUSES_S", "STORE_PAUSES_S"):
        for module in ("cluster.storage.retry", "cluster.storage.storage"):
            monkeypatch.setattr(f"{module}.{name}", (0.01, 0.03))


@pytest.mark.parametrize("query", ["", "?endpoint_override=127.0.0.1:{port}&scheme=http"])
def test_files_come_back_from_a_store(
    proxy: Proxy, place: str, query: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if query:
        monkeypatch.delenv("AWS_ENDPOINT_URL")
    outer = Storage(place + query.format(port=proxy.port))
    storage = outer.below("run")
    storage.write("x/y.json", b"one")
    storage.write("x/y.json", b"two")
    storage.write("x/z/deep", b"3")
    assert (storage.read("x/y.json"), storage.files("x"), storage.folders("x")) == (b"two", ["y.json"], ["z"])
    assert outer.read("run/x/y.json") == Storage(storage.place("x")).read("y.json") == b"two"
    assert set(storage.tree("x")) == {"y.json", "z/deep"}
    storage.rename_file("x/y.json", "w.json")
    assert (storage.files("x"), storage.exists("x/y.json")) == (["w.json"], False)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/file").write_bytes(b"4")
    storage.upload_folder(tmp_path / "folder", "up")
    outer.below("other").copy_folder(storage, "up")
    assert outer.read("other/up/file") == b"4"
    storage.delete_folder("x")
    assert (storage.exists("x/w.json"), storage.folders()) == (False, ["up"])
    assert storage.create("once", b"first")
    assert not storage.create("once", b"second")
    assert storage.read("once") == b"first"


def _race(location: str, barrier: Any, results: Any) -> None:
    storage = Storage(location)
    for number in range(ROUNDS):
        barrier.wait(300)
        results.put((number, storage.create(f"lease/{number:08d}.json", f"{os.getpid()} {number}".encode())))


def test_one_of_many_processes_takes_a_lease(proxy: Proxy, place: str) -> None:
    # pyarrow's S3 does not outlive a fork.
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(WRITERS), context.Queue()
    processes = [context.Process(target=_race, args=(place, barrier, results)) for _ in range(WRITERS)]
    for process in processes:
        process.start()
    told = [results.get(timeout=300) for _ in range(ROUNDS * WRITERS)]
    for process in processes:
        process.join()
    assert sorted(number for number, won in told if won) == list(range(ROUNDS))
    assert len(Storage(place).files("lease")) == ROUNDS


def test_owner_in_a_store_is_told_taken_over_and_fenced_off(proxy: Proxy, place: str) -> None:
    storage, launch = Storage(place), Launch.here()
    earlier = Lease.acquire(storage, launch)
    earlier.storage.write("result.json", b"earlier")
    with pytest.raises(LeaseHeldError, match=rf"{place} is held by process {os.getpid()}"):
        Lease.acquire(Storage(place), Launch.here())
    with Lease.acquire(storage, launch) as later:
        later.storage.write("result.json", b"later")
        for write in (
            lambda: earlier.storage.write("result.json", b"late"),
            lambda: earlier.storage.delete_folder(""),
            earlier.storage.check_owner,
        ):
            earlier.fence.forget()
            with pytest.raises(LeaseLostError):
                write()
        earlier.release()
    assert storage.read("result.json") == b"later"
    assert storage.files("lease") == ["00000002.json"]


def _conditional(request: Request) -> bool:
    return "if-none-match" in request[2]


def test_lease_whose_answer_was_lost_is_ones_own(proxy: Proxy, place: str, in_haste: None) -> None:
    lost = iter(["unanswered"])
    proxy.fault = lambda request: next(lost, None) if _conditional(request) else None
    with Lease.acquire(Storage(place), Launch.here()) as lease:
        assert lease.fence.number == 1
    assert [r for r in proxy.seen if _conditional(r)]


def test_store_that_knows_no_condition_is_refused(proxy: Proxy, place: str) -> None:
    proxy.fault = lambda request: "unconditional"
    with pytest.raises(StoreError, match=rf"cluster.storage: {place}: this store takes no notice of If-None-Match"):
        Lease.acquire(Storage(place), Launch.here())


@pytest.mark.parametrize("fault", [503, "cut"])
def test_what_a_store_does_not_answer_for_a_while_is_asked_again(
    proxy: Proxy, place: str, fault: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FIRST_PAUSES_S", "STORE_PAUSES_S"):
        monkeypatch.setattr(f"cluster.storage.storage.{name}", (0.01,) * 6)
    storage, data = Storage(place), os.urandom(12_000_000)
    storage.write("old", b"old")
    asked: dict[str, int] = {}

    def first_tries(request: Request) -> Any:
        # More often than pyarrow's own client tries.
        kind = f"{request[0]} {request[1].partition('?')[0]}"
        asked[kind] = asked.get(kind, 0) + 1
        return fault if "/checkpoints" in kind and asked[kind] <= 4 else None

    proxy.fault = first_tries
    storage.write("checkpoints/shard", data)
    assert storage.read("checkpoints/shard") == data
    assert storage.create("checkpoints/lease", b"mine")
    assert max(asked.values()) > 4


def test_upload_that_is_cut_leaves_no_file(proxy: Proxy, place: str, in_haste: None) -> None:
    storage = Storage(place)
    proxy.fault = lambda request: "cut" if request[0] == "PUT" else None
    with pytest.raises(StoreError, match="does not answer as it should"):
        storage.write("checkpoints/step/shard", os.urandom(12_000_000))
    proxy.mend()
    assert not storage.exists("checkpoints/step/shard")


def _recipe(folder: Path, bert: Path, name: str, storage: str) -> Path:
    settings: dict[str, Any] = {
        "name": name,
        "encoder": {"name": str(bert), "dropout": 0.2},
        "phases": [{"sampling": {"name": "round_robin"}, "epochs": 2}],
        "training": {"save_every": 4, "log_every": 1},
        "cluster": {"storage": storage},
    }
    return write_recipe(folder / f"{name}.yaml", tiny_config(folder, **settings))


@pytest.fixture(scope="module")
def whole(folder: Path, tiny_bert: Path) -> dict[str, str]:
    """Checksums of an undisturbed run on a disk."""
    done = run_concord("train", str(_recipe(folder, tiny_bert, "whole", str(folder / "runs"))), "--no-ray")
    assert done.returncode == 0, done.stderr
    return _without_state(final_files(folder / "runs" / "whole"))


def _without_state(files: dict[str, str]) -> dict[str, str]:
    # It holds the config, whose name and storage differ.
    return {name: checksum for name, checksum in files.items() if name != "state.json"}


def _final_files(storage: Storage) -> dict[str, str]:
    newest, problems = find_checkpoint(storage)
    assert problems == {}
    manifest = json.loads(storage.read(f"{newest}/manifest.json"))
    return _without_state({"step": str(manifest["step"]), **manifest["files"]})


def test_killed_run_goes_on_to_the_bits_of_a_disk_through_a_store_that_fails(
    proxy: Proxy, server: ObjectStore, place: str, folder: Path, tiny_bert: Path, whole: dict[str, str]
) -> None:
    recipe = str(_recipe(folder, tiny_bert, "killed", place))
    with Command([*CONCORD, "train", recipe, "--no-ray", "--json"]) as command:
        command.wait_for_step(9)
        command.kill()
    run = RunFolder(Storage(place).below("killed"))
    assert (run.result() or {})["status"] == "running"
    with Command([*CONCORD, "train", recipe, "--no-ray"]) as command:
        while not any("result.json" in path and method == "PUT" for method, path, _ in proxy.seen[-50:]):
            time.sleep(0.05)
        server.kill()
        time.sleep(2)
        server.start()
        code, out, error = command.finish()
    assert code == 0, error
    assert f"{place}/killed/result.json" in out.replace("\n", "")
    assert (run.result() or {})["resumed_step"] > 0
    assert _final_files(run.storage) == whole
    attempts = {(run.read_json(name) or {})["attempt"] for name in ("result.json", "history.json")}
    assert attempts == {(run.result() or {})["attempt"]}
    assert (run.read_json("run.json") or {})["attempt"] == "1-" + (run.read_json("run.json") or {})["attempt"][2:]


def test_upload_cut_for_good_ends_the_run_with_one_line_and_the_checkpoint_before(
    proxy: Proxy,
    place: str,
    folder: Path,
    tiny_bert: Path,
    whole: dict[str, str],
    in_haste: None,
    concord: Callable[..., Ended],
) -> None:
    recipe = str(_recipe(folder, tiny_bert, "cut", place))
    proxy.fault = lambda request: "cut" if request[0] == "PUT" and "step-00000008/shard" in request[1] else None
    ended = concord("train", recipe, "--no-ray")
    assert ended.code == 2
    assert ended.err.startswith(f"concord: cluster.storage: {place}/cut does not answer as it should")
    assert len(ended.err.splitlines()) == 1
    proxy.mend()
    storage = Storage(place).below("cut")
    newest, problems = find_checkpoint(storage)
    assert newest == "checkpoints/step-00000004"
    assert all("not finished" in problem for problem in problems.values())
    assert concord("train", recipe, "--no-ray").code == 0
    assert _final_files(storage) == whole
    exported = concord("export", f"{place}/cut", "--checkpoint", "last")
    assert (exported.code, f"{place}/cut/export" in exported.out.replace("\n", "")) == (0, True)


@pytest.mark.parametrize(
    ("bucket", "changes", "told"),
    [
        (BUCKET, {"AWS_ACCESS_KEY_ID": "nobody"}, "refuses access"),
        (BUCKET, {"AWS_SECRET_ACCESS_KEY": "wrong-secret"}, "refuses access"),
        ("nowhere", {}, "the bucket is not there, make it first"),
        (BUCKET, {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "does not answer as it should"),
    ],
)
def test_store_that_refuses_is_one_line(
    proxy: Proxy,
    folder: Path,
    tiny_bert: Path,
    bucket: str,
    changes: dict[str, str],
    told: str,
    in_haste: None,
    concord: Callable[..., Ended],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in changes.items():
        monkeypatch.setenv(name, value)
    ended = concord("train", str(_recipe(folder, tiny_bert, "refused", f"s3://{bucket}/p")), "--no-ray")
    assert (ended.code, len(ended.err.splitlines())) == (2, 1), ended.err
    assert f"concord: cluster.storage: s3://{bucket}/p/refused" in ended.err
    assert told in ended.err
    assert SECRET not in ended.err
    assert "wrong-secret" not in ended.err


def test_place_that_is_not_there_is_told(proxy: Proxy, place: str, concord: Callable[..., Ended]) -> None:
    for command in (("best", place), ("sweep", "status", place)):
        ended = concord(*command)
        assert (ended.code, ended.err) == (2, f"concord: there is no sweep at {place}\n")
    ended = concord("export", place)
    assert (ended.code, ended.err) == (2, f"concord: {place} is no run folder: it has no config.yaml\n")
