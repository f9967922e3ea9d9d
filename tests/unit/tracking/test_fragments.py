import json
import shutil

import pytest

from cluster.tracking.fragments import find_fragments, read_fragment, unwritten_rows
from cluster.tracking.offline_log import LogEnd, read_log
from cluster.tracking.tracker import WandbTracker
from multitask.config.cluster import TrackingConfig
from tests.unit.training.samples import dev_record, outcome, run_info


@pytest.fixture
def run_folder(tmp_path):
    """A run of three rows, the rows long enough for a record over two blocks of the log."""
    tracker = WandbTracker(TrackingConfig(project="p", mode="offline"))
    tracker.start(run_info(str(tmp_path / "run")))
    for step in (10, 20, 30):
        tracker.report(dev_record(step, 0.5) | {"note": "x" * 20000})
    tracker.finish(outcome())
    return tmp_path / "run"


def only_file(folder):
    (fragment,) = find_fragments(folder)
    return fragment.file


def test_a_fragment_tells_what_it_holds(run_folder):
    (fragment,) = find_fragments(run_folder)
    assert (fragment.run_id, fragment.name, fragment.project, fragment.rows) == ("main-1", "main", "p", 3)
    assert (fragment.state, fragment.ended, fragment.offline, fragment.waits) == ("whole", True, True, True)
    assert fragment.readable == fragment.file.stat().st_size
    fragment.file.with_suffix(".wandb.synced").touch()
    assert not read_fragment(fragment.file).waits


def test_wherever_a_file_is_cut_its_whole_records_are_read(run_folder):
    data = only_file(run_folder).read_bytes()
    *records, end = read_log(data)
    assert end == LogEnd(len(data))
    for cut in (*range(0, 2000, 37), *range(32700, 32800, 7), len(data) - 1):
        *some, torn = read_log(data[:cut])
        assert some == records[: len(some)]
        assert torn.whole <= cut
        assert torn.torn == (torn.whole < cut) or cut < 7
        assert list(read_log(data[: torn.whole])) == [*some, LogEnd(torn.whole)]


def test_damage_is_told_from_a_torn_end(run_folder):
    file = only_file(run_folder)
    data = bytearray(file.read_bytes())
    data[50000] ^= 255
    file.write_bytes(data)
    fragment = read_fragment(file)
    assert fragment.state == "damaged"
    assert 0 < fragment.rows < 3
    file.write_bytes(b"something else entirely")
    assert read_fragment(file).state == "damaged"


@pytest.mark.parametrize("size", [0, 3, 7])
def test_a_file_without_a_record_is_empty(run_folder, size):
    file = only_file(run_folder)
    file.write_bytes(file.read_bytes()[:size])
    fragment = read_fragment(file)
    assert (fragment.state, fragment.run_id) == ("empty", "main-1")


def test_a_file_without_an_end_is_live_as_long_as_a_process_has_it_open(run_folder):
    file = only_file(run_folder)
    file.write_bytes(file.read_bytes()[:-200])
    assert read_fragment(file).state == "torn"
    with file.open("ab"):
        assert read_fragment(file).state == "live"


def test_an_online_fragment_waits_only_if_its_process_was_killed(run_folder):
    file = only_file(run_folder)
    online = file.parent.with_name(file.parent.name.removeprefix("offline-"))
    shutil.move(file.parent, online)
    (fragment,) = find_fragments(run_folder)
    assert not fragment.waits
    fragment.file.write_bytes(fragment.file.read_bytes()[:-200])
    assert read_fragment(fragment.file).waits


def test_rows_that_were_lost_before_the_first_was_written_come_from_the_history(tmp_path):
    folder = tmp_path / "run"
    tracker = WandbTracker(TrackingConfig(project="p", mode="offline"))
    tracker.start(run_info(str(folder)))
    tracker.finish(outcome())
    train = [{"step": 10, "train/loss/sst": 1.5}, {"step": 20, "train/loss/sst": 1.0}]
    dev = [{"step": 20, "dev/mean": 0.5, "dev/sts/pearson": None}, {"step": 30, "dev/mean": 0.6}]
    (folder / "history.json").write_text(json.dumps({"train": train, "dev": dev}))
    wanted = [{"step": 10, "train/loss/sst": 1.5}, {"step": 20, "train/loss/sst": 1.0, "dev/mean": 0.5}]
    assert unwritten_rows(folder, "main-1", 20) == wanted
    assert unwritten_rows(folder, "another", 20) == []
