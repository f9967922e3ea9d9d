import yaml
from typer.testing import CliRunner

from cluster.cli.wandb import wandb as command
from multitask.errors import UserError


def sweep(*arguments):
    return CliRunner().invoke(command, ["sweep", "c-b1", *map(str, arguments)])


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
    assert definition["command"][start + 1 : start + 3] == ["name=c-b1-${envvar:WANDB_RUN_ID}", "training.log_every=5"]
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
