"""A process says where it is in its run."""

import torch

from cluster.step.place import HERE, Place, whereabouts
from cluster.step.stopwatch import Stopwatch


def test_a_place_is_said_in_a_few_words() -> None:
    assert str(Place()) == ""
    assert str(Place(step=3)) == "step 3"
    assert str(Place(step=3, part="communicate")) == "step 3, communicate"
    assert str(Place(step=3, part="forward/backward", task="sst")) == "step 3, forward/backward of sst"


def test_what_the_stopwatch_measures_is_where_the_process_is() -> None:
    watch, before = Stopwatch(torch.device("cpu")), whereabouts()
    with watch("data"), watch("save"):
        assert whereabouts().part == "save"
        assert whereabouts().moves > before.moves
    assert whereabouts().part == before.part
    assert HERE is not whereabouts()
