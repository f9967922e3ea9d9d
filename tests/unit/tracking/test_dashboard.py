import json

import pytest
from typer.testing import CliRunner

from cluster.cli.wandb import wandb as command
from cluster.storage.storage import Storage
from cluster.sweeps.records import Options, Sweep
from cluster.sweeps.store import SweepStore
from cluster.tracking.workspace import build_workspace, spec_of
from cluster.tracking.workspace_panels import dev_curves
from multitask.config import load_recipe
from multitask.errors import UserError

PARAMETERS = {
    "optimizer.lr": {"kind": "float", "low": 1e-6, "high": 1e-3, "log": True, "when": {}},
    "sampling.name": {"kind": "choice", "values": ["annealed", "proportional"], "when": {}},
}


@pytest.fixture
def sweep(tmp_path):
    sweep = Sweep(
        name="main-default",
        location=str(tmp_path / "main-default"),
        recipe="c-b1",
        base=load_recipe("c-b1", []).to_dict(),
        space={"name": "default", "about": "", "identity": "x", "parameters": PARAMETERS},
        options=Options(trials=3),
    )
    SweepStore(Storage(sweep.location)).write_plan(sweep)
    return sweep


def dashboard(sweep, *arguments):
    return CliRunner().invoke(command, ["dashboard", sweep.location, *map(str, arguments)])


def panels(spec):
    bank = spec["spec"]["section"]["panelBankConfig"]
    return {section["name"]: [panel["config"] for panel in section["panels"]] for section in bank["sections"]}


def test_the_workspace_shows_the_sweeps_runs_alone_grouped_and_sorted(sweep):
    (runs,) = spec_of(build_workspace(sweep, "me"))["spec"]["section"]["runSets"]
    own = {"key": {"section": "run", "name": "group"}, "op": "=", "value": "main-default", "disabled": False}
    assert runs["filters"] == {"filterFormat": "filterV2", "filters": [own]}
    # `run` is a key of the config, below which W&B's server has a level `value`.
    assert runs["grouping"] == [
        {"section": "config", "name": "run.value.sampling"},
        {"section": "config", "name": "run.value.combination"},
    ]
    assert runs["sort"]["keys"] == [{"key": {"section": "summary", "name": "dev/mean.max"}, "ascending": False}]


def test_the_workspace_has_a_section_for_every_question(sweep):
    shown = panels(spec_of(build_workspace(sweep, "me")))
    assert list(shown) == ["dev scores", "parameters", "conflicts between tasks", "confusion", "cost"]
    curves = {tuple(panel["metrics"]): panel["xAxis"] for panel in shown["dev scores"][2:]}
    assert curves == {
        tuple(
            f"dev/sst/{own}" for own in ("accuracy", "macro_f1", "matthews", "auc", "quadratic_kappa", "negative_mae")
        ): "train/rows",
        tuple(f"dev/quora/{own}" for own in ("accuracy", "macro_f1", "matthews", "auc")): "train/rows",
        ("dev/sts/pearson", "dev/sts/spearman", "dev/sts/negative_mae"): "train/rows",
    }
    parallel, importance = shown["parameters"]
    assert [column["accessor"] for column in parallel["columns"]] == [
        "config:sample.value.optimizer.lr",
        "config:sample.value.sampling.name",
        "summary:dev/mean.max",
    ]
    assert [column.get("log") for column in parallel["columns"]] == [True, None, None]
    assert importance["targetKey"] == "dev/mean.max"
    heat, cosines, _, norms = shown["conflicts between tasks"]
    assert "conflicts/cosines_table" in json.dumps(heat["userQuery"])
    assert cosines["metrics"] == [f"combination/cosine/{pair}" for pair in ("sst-quora", "sst-sts", "quora-sts")]
    assert norms["metrics"] == [f"combination/norm/{task}" for task in ("sst", "quora", "sts")]
    tables = [json.dumps(panel["userQuery"]) for panel in shown["confusion"]]
    assert [task in table for task, table in zip(("sst", "quora"), tables, strict=True)] == [True, True]
    assert shown["cost"][0]["metrics"] == ["throughput/tokens_per_s"]
    assert "seconds/forward/backward" in shown["cost"][-1]["metrics"]


def test_scores_of_training_rows_are_curves_beside_those_of_dev_rows():
    curves = dev_curves(load_recipe("main", ["training.score_train_rows=9"]))
    assert {"dev/sts/pearson", "train/sts/pearson"} <= set(curves[-1].y)


def test_the_spec_is_valid_to_the_library_and_the_same_each_time(sweep):
    from wandb_workspaces.workspaces import Workspace, internal

    spec = spec_of(build_workspace(sweep, "me"))
    assert spec_of(build_workspace(sweep, "me")) == spec
    values = {key: spec[key] for key in ("entity", "project", "name", "id")}
    viewspec = internal.WorkspaceViewspec.model_validate_json(json.dumps(spec["spec"]))
    view = internal.View(**values, display_name=spec["displayName"], spec=viewspec)
    assert panels(spec_of(Workspace._from_model(view))) == panels(spec)


def test_without_a_login_the_spec_is_written_and_it_is_said_what_remains(sweep, tmp_path):
    result = dashboard(sweep)
    assert result.exit_code == 0
    file = tmp_path / "main-default" / "dashboard.json"
    remains = f"`concord wandb dashboard {sweep.location}` saves the dashboard later"
    assert result.output.splitlines() == [f"spec in {file}", f"W&B: not logged in (`wandb login`); {remains}"]
    assert json.loads(file.read_text())["displayName"] == "sweep main-default"
    assert dashboard(sweep, "-o", tmp_path / "own" / "spec.json").exit_code == 0
    assert json.loads((tmp_path / "own" / "spec.json").read_text()) == json.loads(file.read_text())


def test_the_workspace_is_saved_once_and_replaced_afterwards(sweep, server, tmp_path):
    for _ in range(2):
        result = dashboard(sweep)
        assert result.exit_code == 0
        assert result.output.splitlines()[-1].startswith(f"{server.url}/me/concord?nw=")
    ((identity, view),) = server.views.items()
    assert (view["entityName"], view["projectName"], view["displayName"]) == ("me", "concord", "sweep main-default")
    saved = json.loads((tmp_path / "main-default" / "dashboard.json").read_text())
    assert (saved["id"], saved["name"]) == (identity, view["name"])
    assert saved["spec"] == json.loads(view["spec"])


def test_an_unknown_sweep_is_refused(tmp_path):
    result = CliRunner().invoke(command, ["dashboard", "none", "--storage", str(tmp_path)])
    assert isinstance(result.exception, UserError)
