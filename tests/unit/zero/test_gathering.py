"""What is gathered after a step of some tasks."""

from typing import Any

import pytest
import torch

from cluster.zero import gathering
from cluster.zero.engine import import_deepspeed
from cluster.zero.gathering import gathers_only


def test_weights_that_stay_as_they_are_are_not_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    import_deepspeed("cpu")
    from deepspeed.runtime.zero import stage_1_and_2

    gathered: list[dict[str, Any]] = []
    whole = stage_1_and_2.all_gather_dp_groups
    monkeypatch.setattr(stage_1_and_2, "all_gather_dp_groups", lambda **lists: gathered.append(lists))
    a, b, c, small, other = (torch.empty(n, device="meta") for n in (2**21, 2**21, 2**21, 10, 2**20))
    together: list[list[torch.Tensor]] = []
    monkeypatch.setattr(gathering, "_gather_together", lambda groups, processes: together.append(groups))
    lists = {
        "groups_flat": [a, small, b, c, other],
        "partitioned_param_groups": [1, 2, 3, 4, 5],
        "dp_process_group": [6] * 5,
    }
    with gathers_only([0, 1, 3, 4]):
        stage_1_and_2.all_gather_dp_groups(**lists, start_alignment_factor=2, allgather_bucket_size=9)
    stage_1_and_2.all_gather_dp_groups(**lists)
    chosen = {"groups_flat": [a, c], "partitioned_param_groups": [1, 4], "dp_process_group": [6, 6]}
    assert gathered == [chosen | {"start_alignment_factor": 2, "allgather_bucket_size": 9}, lists]
    assert together == [[small, other]]
    monkeypatch.undo()
    assert stage_1_and_2.all_gather_dp_groups is whole
