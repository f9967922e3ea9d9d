"""What is gathered after a step of some tasks."""

from typing import Any

import pytest

from cluster.zero.engine import import_deepspeed
from cluster.zero.gathering import gathers_only


def test_weights_that_stay_as_they_are_are_not_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    import_deepspeed("cpu")
    from deepspeed.runtime.zero import stage_1_and_2

    gathered: list[dict[str, Any]] = []
    whole = stage_1_and_2.all_gather_dp_groups
    monkeypatch.setattr(stage_1_and_2, "all_gather_dp_groups", lambda **lists: gathered.append(lists))
    lists = {"groups_flat": ["a", "b", "c"], "partitioned_param_groups": [1, 2, 3], "dp_process_group": [4, 5, 6]}
    with gathers_only([0, 2]):
        stage_1_and_2.all_gather_dp_groups(**lists, start_alignment_factor=2, allgather_bucket_size=9)
    stage_1_and_2.all_gather_dp_groups(**lists)
    chosen = {"groups_flat": ["a", "c"], "partitioned_param_groups": [1, 3], "dp_process_group": [4, 6]}
    assert gathered == [chosen | {"start_alignment_factor": 2, "allgather_bucket_size": 9}, lists]
    monkeypatch.undo()
    assert stage_1_and_2.all_gather_dp_groups is whole
