"""A disk that is full, or a folder that cannot be written: one line, and what was there before stays."""

import errno
from pathlib import Path

import pytest

from cluster.storage.storage import Storage
from cluster.sweeps.records import Trial
from cluster.sweeps.store import SweepStore
from multitask.errors import UserError


def test_a_record_that_cannot_be_written_is_said_and_the_old_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = SweepStore(Storage(str(tmp_path)))
    trial = Trial(0, 0, "recipe", "s-000", {}, "running")
    folder.write_trial(trial)

    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match=r"trials/s-000/trial.json.*No space left on device.*concord sweep resume"):
        folder.write_trial(Trial(0, 0, "recipe", "s-000", {}, "finished"))
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "trials/s-000").iterdir()] == ["trial.json"]
    assert Trial.from_dict(folder._read("trials/s-000/trial.json")) == trial
