"""A sweep's W&B workspace as code: built from its records, saved on the server or written as a spec."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from cluster.sweeps.records import Sweep
from cluster.tracking.login import sign_in
from cluster.tracking.workspace_panels import BEST, sections
from cluster.training.observer import one_line
from multitask.config import RunConfig
from multitask.errors import UserError

if TYPE_CHECKING:
    import wandb_workspaces.workspaces as ws

SPEC = "dashboard.json"


def make_dashboard(sweep: Sweep, file: Path, again: str) -> tuple[str, str]:
    """Save the sweep's workspace on W&B's server; gives its URL, and where there is no server what remains to be done.

    The spec lies in `file` afterwards, with the view that it was saved as. `again` is the command that saves it later.

    Raises:
        UserError: the server refuses it, or the file cannot be written.
    """
    known, remains = _read_spec(file), ""
    try:
        entity = sign_in(f"`{again}` saves the dashboard later")
    except UserError as error:
        entity, remains = known.get("entity", ""), str(error)
    workspace = build_workspace(sweep, RunConfig.model_validate(sweep.base).tracking.entity or entity)
    if (known.get("entity"), known.get("project")) == (workspace.entity, workspace.project):
        workspace._internal_name, workspace._internal_id = known.get("name", ""), known.get("id", "")
    write_spec(workspace, file)
    if remains:
        return "", remains
    url = _save(workspace, file)
    write_spec(workspace, file)
    return url, ""


def build_workspace(sweep: Sweep, entity: str) -> "ws.Workspace":
    """The workspace of the sweep's runs alone, grouped by sampling and combination, the best first."""
    import wandb_workspaces.workspaces as ws

    recipe = RunConfig.model_validate(sweep.base)
    runs = ws.RunsetSettings(
        filters=ws.And(ws.Metric("Group") == sweep.group),
        groupby=[ws.Config("run.sampling"), ws.Config("run.combination")],
        order=[ws.Ordering(ws.Summary(BEST), ascending=False)],
        pinned_columns=["run:displayName", f"summary:{BEST}", "summary:state", "run:jobType"],
    )
    workspace = ws.Workspace(
        entity=entity,
        project=recipe.tracking.project,
        name=f"sweep {sweep.name}",
        sections=sections(sweep, recipe),
        settings=ws.WorkspaceSettings(x_axis="step", max_runs=max(10, len(sweep.trials))),
        runset_settings=runs,
    )
    _name_panels(workspace)
    return workspace


def _name_panels(workspace: "ws.Workspace") -> None:
    """Give panels and runs names of their own in place of random ones: the same sweep has the same spec."""
    workspace._internal_runset_id = "runs"
    for place, section in enumerate(workspace.sections):
        for number, panel in enumerate(section.panels):
            vars(panel)["_id"] = f"panel-{place}-{number}"


def spec_of(workspace: "ws.Workspace") -> dict[str, Any]:
    """The workspace as W&B's server stores it: `entity`, `project`, `displayName`, `name`, `id` and `spec`."""
    return json.loads(workspace._to_model().model_dump_json(by_alias=True, exclude_none=True))


def write_spec(workspace: "ws.Workspace", file: Path) -> None:
    """Write the spec as JSON.

    Raises:
        UserError: the file cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(spec_of(workspace), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{file} cannot be written: {error.strerror}") from None


def _save(workspace: "ws.Workspace", file: Path) -> str:
    try:
        cast(Any, workspace).save()
        return str(workspace.url)
    except Exception as error:
        raise UserError(f"W&B: the dashboard was not saved: {one_line(error)}; its spec lies in {file}") from None


def _read_spec(file: Path) -> dict[str, Any]:
    try:
        known: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known
