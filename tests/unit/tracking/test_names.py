"""Names are refused before a run starts where W&B's own library refuses them, and nowhere else."""

import pytest
import wandb

from cluster.sweeps.create import check_name
from cluster.sweeps.plan import run_name
from cluster.tracking.model_artifact import model_artifact
from multitask.config import load_recipe
from multitask.errors import UserError


def _refused(overrides) -> str:
    """What the user is told; empty where the config is taken."""
    try:
        load_recipe("main", overrides)
    except UserError as error:
        return str(error).partition("main.yaml: ")[2]
    return ""


def _wandb_refuses(action) -> bool:
    try:
        action()
    except (ValueError, wandb.errors.UsageError):
        return True
    return False


@pytest.mark.parametrize("project", [*(f"a{char}b" for char in "/\\#?%:-_. äß$&+@!'\"(),;=~|"), "x" * 128, "x" * 129])
def test_a_project_is_taken_where_wandb_takes_it(project: str) -> None:
    told = _refused({"tracking.project": project})
    assert bool(told) == _wandb_refuses(lambda: wandb.Settings(project=project))
    assert told == "" or told.startswith("tracking: project must have 1 to 128 characters and none of / \\ # ? % :, as")
    assert len(told.splitlines()) < 2


@pytest.mark.parametrize("tag", ["", "a", "a/b:c#", "x" * 64, "x" * 65])
def test_a_tag_is_taken_where_wandb_takes_it(tag: str) -> None:
    told = _refused({"tracking.tags": [tag]})
    assert bool(told) == _wandb_refuses(lambda: wandb.Settings(run_tags=(tag,)))
    assert told == "" or told.startswith("tracking: tags must have 1 to 64 characters each, as W&B wants it, got '")


@pytest.mark.parametrize("length", [128, 129])
def test_a_run_s_name_is_taken_where_its_model_can_be_sent(length: int, tmp_path) -> None:
    told = _refused([f"name={'x' * length}"])
    assert bool(told) == _wandb_refuses(lambda: model_artifact("x" * length, tmp_path))
    assert told == "" or told.startswith("name: W&B takes 128 characters at most, got 129: 'xxx")


def test_an_empty_project_would_be_another_one() -> None:
    with pytest.raises(UserError, match="tracking: project must have 1 to 128 characters"):
        load_recipe("main", ["tracking.project=''"])


def test_without_tracking_names_are_free() -> None:
    config = load_recipe("main", [f"name={'x' * 200}", "tracking={mode: disabled, project: a/b, tags: ['']}"])
    assert config.tracking.project == "a/b"


def test_a_sweep_s_name_leaves_room_for_those_of_its_trials() -> None:
    with pytest.raises(UserError, match=r"--name may have 96 characters at most, .* got 97"):
        check_name("x" * 97)
    longest = "x" * 96
    check_name(longest)
    names = [run_name(longest, 99_999, 99, "sample") + "-g99-g99", run_name(longest, 0, 99, "baseline", "quora")]
    assert all(len(name) <= 128 for name in names)
    task = "a_task_with_quite_a_long_name"
    with pytest.raises(UserError, match=r"--name may have 89 characters"):
        check_name(longest, [task])
    check_name("x" * 89, [task])
    assert len(run_name("x" * 89, 0, 99, "baseline", task)) == 128
