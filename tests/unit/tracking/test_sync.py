"""`concord wandb sync` and runs killed online, against a server on loopback and the real `wandb sync`."""

import time

import pytest
import wandb
from typer.testing import CliRunner

from cluster.cli.wandb import wandb as command
from cluster.storage.storage import Storage
from cluster.tracking.fragments import find_fragments
from cluster.tracking.tracker import WandbTracker
from multitask.config.cluster import TrackingConfig
from multitask.errors import UserError
from tests.tracked_process import track, track_and_kill
from tests.unit.training.samples import dev_record, outcome, run_info
from tests.wandb_server import log_in, serving


def sync(*arguments, storage="nowhere"):
    return CliRunner().invoke(command, ["sync", *map(str, arguments), "--storage", str(storage)])


def run_folder(place):
    place.mkdir(parents=True, exist_ok=True)
    (place / "run.json").write_text("{}")
    return place


def record(folder, *steps):
    """Add an offline fragment, made in this process; gives its file."""
    tracker = WandbTracker(TrackingConfig(project="p", mode="offline"))
    tracker.start(run_info(str(folder)))
    for step in steps:
        tracker.report(dev_record(step, 0.5))
    tracker.finish(outcome())
    return find_fragments(folder)[-1].file


def start_of_record(data, number):
    """Where record `number` (from 0) of a small `.wandb` file begins: 7 bytes, then for each its checksum, length and kind."""
    offset = 7
    for _ in range(number):
        offset += 7 + int.from_bytes(data[offset + 4 : offset + 6], "little")
    return offset


def points(run, key="dev/sst/accuracy"):
    return [(row["step"], row[key]) for row in run.rows]


def test_fragments_of_one_run_become_one_and_only_what_is_new_is_sent_later(tmp_path, server):
    folder = run_folder(tmp_path / "runs" / "main")
    track_and_kill(folder, (10, 0.5), (20, 0.9))
    first = find_fragments(folder)[0].file
    first.write_bytes(first.read_bytes() + b"\x01\x02\x03\x04\xff\x00\x01torn")
    (folder / "wandb" / "offline-run-20200101_000000-main-1").mkdir()
    (folder / "wandb" / "offline-run-20200101_000000-main-1" / "run-main-1.wandb").write_bytes(b":W&B\xe1\xbe\x00")
    dry = sync("main", "--dry-run", storage=tmp_path / "runs")
    assert "torn last record" in dry.output
    assert "empty, left out" in dry.output
    assert "would send 1 fragment; nothing was sent" in dry.output
    assert server.runs == {}

    done = sync("main", storage=tmp_path / "runs")
    assert (done.exit_code, done.output.splitlines()[-1]) == (0, "sent 1 fragment")
    assert points(server.runs["main-1"]) == [(10, 0.5), (20, 0.9)]
    track(folder, (20, 0.7), (30, 0.6))
    done = sync(folder)
    assert (done.exit_code, done.output.splitlines()[-1]) == (0, "sent 1 fragment")
    run = server.runs["main-1"]
    assert list(server.runs) == ["main-1"]
    assert points(run) == [(10, 0.5), (20, 0.9), (30, 0.6)]
    assert [row["_step"] for row in run.rows] == [10, 20, 30]
    assert run.summary["dev/sst/accuracy"] == {"max": 0.9, "last": 0.6}
    assert run.exit_codes[-1] == 0
    assert sync(folder).output.splitlines()[-1] == "sent 0 fragments"
    assert len(run.rows) == 3


def test_a_run_that_is_being_written_is_held_back_whole(tmp_path, server):
    folder = run_folder(tmp_path / "main")
    record(folder, 10)
    time.sleep(1)  # W&B names fragments by the second
    file = record(folder, 20)
    file.write_bytes(file.read_bytes()[:-200])
    with file.open("ab"):
        result = sync(folder)
    assert result.exit_code == 1
    assert "still being written" in result.output
    assert result.output.splitlines()[-1] == "sent 0 fragments, 2 not sent"
    assert server.runs == {}


@pytest.mark.parametrize("where", [0, 4, 5, 6, 9], ids=["checksum", "length", "length in blocks", "kind", "content"])
def test_damage_is_named_and_not_sent(tmp_path, server, where):
    folder = run_folder(tmp_path / "main")
    file = record(folder, 10, 20)
    data = bytearray(file.read_bytes())
    data[start_of_record(data, 2) + where] ^= 255
    file.write_bytes(data)
    result = sync(folder)
    assert result.exit_code == 1
    assert "damaged after byte" in result.output
    assert server.runs == {}


def test_without_a_login_or_a_server_it_is_said_what_remains(tmp_path, monkeypatch):
    folder = run_folder(tmp_path / "main")
    record(folder, 10)
    remains = f"1 fragments wait; `concord wandb sync {folder}` sends them later"
    error = sync(folder).exception
    assert isinstance(error, UserError)
    assert str(error) == f"W&B: not logged in (`wandb login`); {remains}"
    monkeypatch.setattr("cluster.tracking.login.TIMEOUT_S", 1)
    log_in(monkeypatch, "http://127.0.0.1:9")
    error = sync(folder).exception
    assert isinstance(error, UserError)
    assert str(error).endswith(remains)
    assert "\n" not in str(error)
    with serving(refuse=True) as server:
        log_in(monkeypatch, server.url)
        error = sync(folder).exception
    assert isinstance(error, UserError)
    assert str(error) == f"W&B: the server refused the API key (`wandb login --relogin` takes another); {remains}"


def test_what_the_server_did_not_take_is_no_success(tmp_path, server, monkeypatch):
    folder = run_folder(tmp_path / "main")
    file = record(folder, 10)
    monkeypatch.setattr("cluster.tracking.sync.COMMAND", ["true"])
    result = sync(folder)
    assert result.exit_code == 1
    assert f"not sent: {file}" in result.output


def test_nothing_that_was_recorded_is_lost_when_an_online_run_is_killed_and_goes_on(tmp_path, server):
    track_and_kill(tmp_path / "main", (10, 0.5), (20, 0.9), mode="online")
    track(tmp_path / "main", (20, 0.7), (30, 0.6), mode="online")
    run = server.runs["main-1"]
    assert points(run) == [(10, 0.5), (20, 0.9), (30, 0.6)]
    assert run.summary["dev/sst/accuracy"] == {"max": 0.9, "last": 0.6}
    assert [fragment.waits for fragment in find_fragments(tmp_path / "main")] == [False, False]


def test_the_end_of_an_online_run_that_was_killed_for_good_is_sent(tmp_path, server):
    folder = run_folder(tmp_path / "main")
    track_and_kill(folder, (10, 0.5), (20, 0.9), mode="online")
    assert server.runs["main-1"].rows == []
    assert sync(folder).exit_code == 0
    assert points(server.runs["main-1"]) == [(10, 0.5), (20, 0.9)]


@pytest.mark.parametrize("name", ["nowhere", "runs/none"])
def test_a_name_that_is_neither_sweep_nor_run_is_refused(tmp_path, name):
    assert isinstance(sync(name, storage=tmp_path).exception, UserError)


def test_a_run_at_a_uri_goes_on_and_is_sent_from_there(tmp_path, server, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY")
    location = f"memory://bucket/{tmp_path.name}/main"
    storage = Storage(location)
    storage.write("run.json", b"{}")
    for steps, resumed in (((10, 20), 0), ((20, 30), 10)):
        tracker = WandbTracker(TrackingConfig(project="p", mode="offline"))
        tracker.start(run_info(location, resumed_step=resumed))
        for step in steps:
            tracker.report(dev_record(step, step / 100))
        tracker.finish(outcome())
        wandb.teardown()
    assert sum(path.endswith(".wandb") for path in storage.tree("wandb")) == 2
    log_in(monkeypatch, server.url)
    assert sync(location, "--dry-run").output.splitlines()[-1] == "would send 2 fragments; nothing was sent"
    done = sync(location)
    assert (done.exit_code, done.output.splitlines()[-1]) == (0, "sent 2 fragments"), done.output
    assert points(server.runs["main-1"]) == [(10, 0.1), (20, 0.2), (30, 0.3)]
    assert sync(location).output.splitlines()[-1] == "sent 0 fragments"
