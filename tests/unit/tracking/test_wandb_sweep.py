"""The export for W&B's own sweeps, and the command that writes it."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from cluster.cli.wandb import wandb as command
from cluster.sweeps.plan import planned, trial_config
from cluster.sweeps.records import Options, Trial
from cluster.tracking.wandb_sweep import equal_rows, sweep_definition
from multitask.config import RunConfig, load_recipe, override_config
from multitask.errors import UserError
from tests.unit.sweeps.recipes import ROWS, budget_of, recipe
from tune_spaces import open_space


@pytest.fixture(scope="module")
def base() -> RunConfig:
    return load_recipe("main")


def test_the_definition_is_what_wandb_reads(base: RunConfig) -> None:
    space = open_space("tests.unit.tune_spaces.spaces:numbers", base)
    definition = sweep_definition(space, "main", "mine:numbers", metric="dev/sst/accuracy", stop_after=2)
    assert definition == {
        "name": "main-numbers",
        "description": space.about,
        "program": "concord",
        "command": ["${env}", "concord", "train", "main", "--space", "mine:numbers", "--sample", "${args_json}"],
        "method": "bayes",
        "metric": {"name": "dev/sst/accuracy", "goal": "maximize"},
        "early_terminate": {"type": "hyperband", "min_iter": 2},
        "parameters": {
            "schedule.warmup": {"distribution": "uniform", "min": 0.1, "max": 0.3},
            "optimizer.lr": {"distribution": "log_uniform_values", "min": 1e-6, "max": 1e-2},
            "phases.0.epochs": {"distribution": "int_uniform", "min": 1, "max": 4},
            "data.batch_size": {"distribution": "q_log_uniform_values", "q": 1, "min": 1, "max": 1024},
            "encoder.pooling": {"values": ["mean", "cls", "max"]},
        },
    }
    assert yaml.safe_load(yaml.safe_dump(definition)) == definition


def test_a_grid_lists_values_and_names_what_has_none(base: RunConfig) -> None:
    space = open_space("tests.unit.tune_spaces.spaces:grid", base)
    definition = sweep_definition(space, "main", "mine:grid", method="grid")
    assert definition["parameters"]["phases.0.epochs"] == {"values": [1, 2, 3]}
    assert "early_terminate" not in definition
    with pytest.raises(UserError, match=r"optimizer\.lr .*a grid needs choices"):
        sweep_definition(open_space("default", base), "main", "default", method="grid")
    with pytest.raises(UserError, match=r"no method 'bayse'.*did you mean 'bayes'"):
        sweep_definition(space, "main", "mine:grid", method="bayse")


def test_fixed_values_are_constants_that_a_trial_takes_from_its_sample(base: RunConfig) -> None:
    space = open_space("default", base, {"phases.0.sampling.name": "annealed", "sampling.annealed.end": 0.1})
    definition = sweep_definition(space, str(Path("own") / "base.yaml"), "default")
    assert (definition["name"], definition["command"][3:5]) == ("base-default", ["own/base.yaml", "--space"])
    parameters = definition["parameters"]
    assert parameters["sampling.name"] == {"value": "annealed"}
    assert parameters["sampling.annealed.end"] == {"value": 0.1}
    constants = {name: own["value"] for name, own in parameters.items() if "value" in own}
    drawn = {name: own.draw(np.random.default_rng(0)) for name, own in space.parameters.items()}
    trial = open_space("default", base).config(base, constants | drawn)
    assert trial == space.config(base, drawn)


def test_a_fixed_value_that_a_trials_space_does_not_have_is_refused(base: RunConfig) -> None:
    space = open_space("default", base, {"optimizer.lr": 0.01})
    with pytest.raises(UserError, match=r"can hold optimizer\.lr within its range \(1e-06 … 0\.001\), got 0\.01"):
        sweep_definition(space, "main", "default")


def test_a_sample_with_every_parameter_makes_the_config_of_its_active_ones(base: RunConfig) -> None:
    space = open_space("default", base)
    generator = np.random.default_rng(0)
    for _ in range(50):
        # What an agent passes on: every parameter, whatever the choices are, through JSON.
        everything = {name: own.draw(generator) for name, own in space.parameters.items()}
        sample = json.loads(json.dumps(everything))
        active = space.active(sample)
        assert set(active) < set(sample)
        assert space.config(base, sample) == space.config(base, active)
        for name, own in space.parameters.items():
            holds = all(active.get(other) in values for other, values in own.when.items())
            assert (name in active) is holds


def test_whole_numbers_that_wandb_writes_with_a_fraction_are_whole(base: RunConfig) -> None:
    space = open_space("tests.unit.tune_spaces.spaces:numbers", base)
    sample = space.draw(np.random.default_rng(0)) | {"data.batch_size": 32.0}
    assert repr(space.active(sample)["data.batch_size"]) == repr(space.config(base, sample).data.batch_size) == "32"


def sweep(*arguments):
    return CliRunner().invoke(command, ["sweep", "c-b1", "+sample", *map(str, arguments)])


def test_a_space_is_written_and_the_commands_are_printed(tmp_path):
    file = tmp_path / "sweep.yaml"
    result = sweep("training.log_every=5", "--space", "learning_rate", "-o", file)
    assert result.exit_code == 0, result.exception
    first, *commands = result.output.splitlines()
    assert first.startswith(f"wrote {file}")
    assert commands == [f"wandb sweep --project concord {file}", "wandb agent ENTITY/concord/SWEEP_ID"]
    definition = yaml.safe_load(file.read_text())
    assert definition["metric"] == {"name": "dev/mean", "goal": "maximize"}
    assert definition["method"] == "bayes"
    # Each run has a name of its own, and the changes that are no parameters go with it.
    start = definition["command"].index("c-b1")
    changes = definition["command"][start + 1 : definition["command"].index("--space")]
    assert changes[:3] == ["name=c-b1-sample-${envvar:WANDB_RUN_ID}", "+sample", "training.log_every=5"]
    assert [change.partition("=")[0] for change in changes[3:]][-2:] == [
        "phases.0.rows_per_epoch",
        "training.evaluate_rows",
    ]
    assert "optimizer.lr" in definition["parameters"]


def test_a_change_that_names_a_parameter_holds_it(tmp_path):
    file = tmp_path / "sweep.yaml"
    assert sweep("optimizer.lr=1e-5", "-o", file).exit_code == 0
    definition = yaml.safe_load(file.read_text())
    assert definition["parameters"]["optimizer.lr"] == {"value": 1e-5}
    assert not any(part.startswith("optimizer.lr=") for part in definition["command"])


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    error = sweep("--space", "learning_rate", "-o", tmp_path / "none" / "sweep.yaml").exception
    assert isinstance(error, UserError)
    assert str(error).startswith("--output: ")


@pytest.mark.parametrize("strategy", ["round_robin", "proportional", "annealed", "scaled_batch_sizes"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"phases": [{"sampling": {"name": "round_robin"}, "steps_per_epoch": 150}], "training": {"evaluate_every": 20}},
    ],
)
def test_runs_of_an_agent_train_and_evaluate_by_the_rows_of_our_own_trials(strategy: str, changes: dict) -> None:
    base = recipe(**changes)
    space, budget = open_space("sampling", base), budget_of(base)
    agents = override_config(base, equal_rows(base, budget))
    sample = space.draw_any(np.random.default_rng(5), {"sampling.name": strategy})
    trial = Trial(1, 0, "sample", "s-001", sample)
    ours = trial_config(space.config(base, sample), trial, "s", "place", Options(9), budget)
    run = space.config(agents, sample)
    assert (run.phases, run.training.evaluate_rows) == (ours.phases, ours.training.evaluate_rows)
    assert planned(run, ROWS) == planned(ours, ROWS)
