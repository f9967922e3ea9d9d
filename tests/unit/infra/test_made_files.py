"""What `concord cluster init` writes, held against the schemas and checkers of those who read it."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from cluster.api.cluster_files import init_cluster
from cluster.launch.metrics import EXPORTED
from tests.unit.infra.made import GIVEN

KUBERNETES = "1.36"
BINARIES = Path(sys.executable).parent
YAMLLINT = "{extends: default, rules: {line-length: {max: 140}, document-start: disable}}"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder of each cluster."""
    folder = tmp_path_factory.mktemp("clusters")
    return {name: init_cluster(kind, folder / name, **given).folder for name, (kind, given) in GIVEN.items()}


def files(made: dict[str, Path], pattern: str) -> list[str]:
    found = [str(file) for folder in made.values() for file in sorted(folder.rglob(pattern))]
    assert found
    return found


def manifests(folder: Path) -> list[dict[str, Any]]:
    return [d for file in sorted((folder / "kubernetes").glob("*.yaml")) for d in yaml.safe_load_all(file.read_text())]


def one(folder: Path, kind: str) -> dict[str, Any]:
    (found,) = [manifest for manifest in manifests(folder) if manifest["kind"] == kind]
    return found


def passes(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_scripts_pass_shellcheck(made: dict[str, Path]) -> None:
    passes(f"{BINARIES}/shellcheck", *files(made, "*.sh"), *files(made, "*.sbatch"))


def test_yaml_passes_yamllint(made: dict[str, Path]) -> None:
    passes(f"{BINARIES}/yamllint", "--strict", "-d", YAMLLINT, *files(made, "*.yaml"), *files(made, "*.yml"))


def test_image_passes_hadolint(made: dict[str, Path]) -> None:
    passes(f"{BINARIES}/hadolint", *files(made, "Dockerfile"))


def test_image_is_pinned_not_root_and_takes_nothing_but_the_lock_and_the_wheel(made: dict[str, Path]) -> None:
    image = made["aws"] / "image"
    text = (image / "Dockerfile").read_text()
    assert text.rindex("USER 1000") > text.rindex("FROM ")
    assert "DS_BUILD_OPS=0" in text
    assert "TORCH_EXTENSIONS_DIR=" in text
    assert not re.search(r"(?i)secret|password|api_key|token=", text.replace("RAY_AUTH_MODE=token", ""))
    kept = [line for line in (image / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert kept == ["*", "!requirements.lock", "!concord_mtl-*.whl"]
    lock = [line for line in (image / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
    assert {"torch", "ray", "deepspeed"} <= {line.split("==")[0] for line in lock}
    assert all(re.fullmatch(r"[\w.-]+==[\w.!]+", line) for line in lock)


def pods(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """All pods of a RayCluster or RayJob, as Kubernetes would be given them."""
    spec = manifest["spec"].get("rayClusterSpec", manifest["spec"])
    templates = [spec["headGroupSpec"]["template"], *(group["template"] for group in spec["workerGroupSpecs"])]
    if "submitterPodTemplate" in manifest["spec"]:
        templates.append(manifest["spec"]["submitterPodTemplate"])
    return [{"apiVersion": "v1", "kind": "Pod", **{"metadata": {}, **template}} for template in templates]


@pytest.mark.parametrize("name", ["kuberay", "kuberay-s3"])
def test_manifests_fit_the_schemas_of_kubernetes(made: dict[str, Path], name: str) -> None:
    core = [m for m in manifests(made[name]) if m["kind"] in ("NetworkPolicy", "PersistentVolumeClaim")]
    assert len(core) == (1 if name == "kuberay-s3" else 2)
    for manifest in core:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
    for pod in pods(one(made[name], "RayCluster")) + pods(one(made[name], "RayJob")):
        named = {**pod, "metadata": {**pod["metadata"], "name": "x"}}
        kubernetes_validate.validate(named, KUBERNETES, strict=True)


@pytest.mark.parametrize("name", ["kuberay", "kuberay-s3"])
def test_every_pod_is_confined_and_limited(made: dict[str, Path], name: str) -> None:
    for manifest in (one(made[name], "RayCluster"), one(made[name], "RayJob")):
        for pod in pods(manifest):
            assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
            assert pod["metadata"]["labels"] == {"app.kubernetes.io/part-of": "concord"}
            for container in pod["spec"]["containers"]:
                assert container["securityContext"]["allowPrivilegeEscalation"] is False
                assert container["resources"]["limits"].keys() >= {"cpu", "memory"}


@pytest.mark.parametrize("name", ["kuberay", "kuberay-s3"])
def test_kuberay_autoscaler_reads_the_cluster(made: dict[str, Path], name: str) -> None:
    """By Ray's own reader of the custom resource, which also holds it against the schema of `ray up`."""
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

    manifest, given = one(made[name], "RayCluster"), {"workers": 2, "min_workers": 0, **GIVEN[name][1]}
    manifest["metadata"]["namespace"] = "default"
    types = _derive_autoscaling_config_from_ray_cr(manifest)["available_node_types"]
    assert types["headgroup"]["resources"]["CPU"] == 0
    worker = types["worker"]
    assert (worker["min_workers"], worker["max_workers"]) == (given["min_workers"], given["workers"])
    assert worker["resources"].get("GPU", 0) == given["gpus"]
    assert manifest["spec"]["authOptions"] == {"mode": "token"}


def test_job_is_tried_again_under_one_name_and_fits_its_queue(made: dict[str, Path]) -> None:
    job, queue = one(made["kuberay"], "RayJob"), one(made["kuberay"], "ClusterQueue")
    assert job["spec"]["backoffLimit"] > 0
    assert job["spec"]["entrypoint"].split()[2:] == [
        "main",
        "name=concord",
        "cluster.storage=/mnt/concord",
        "cluster.workers=8",
    ]
    assert (
        job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == one(made["kuberay"], "LocalQueue")["metadata"]["name"]
    )
    (group,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert group["replicas"] == group["maxReplicas"] == 4
    quota = {r["name"]: r["nominalQuota"] for r in queue["spec"]["resourceGroups"][0]["flavors"][0]["resources"]}
    asked = [container["resources"]["requests"] for pod in pods(job) for container in pod["spec"]["containers"]]
    head, worker, _ = asked
    assert quota["nvidia.com/gpu"] == 4 * int(worker["nvidia.com/gpu"])
    assert quota["cpu"] >= 4 * int(worker["cpu"]) + int(head["cpu"]) + 1
    assert queue["spec"]["resourceGroups"][0]["coveredResources"] == list(quota)


@pytest.mark.parametrize(("name", "gpus"), [("aws", 1), ("gcp", 4)])
def test_ray_up_accepts_the_cluster_and_its_workers_are_spot(made: dict[str, Path], name: str, gpus: int) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    tree = yaml.safe_load((made[name] / "cluster.yaml").read_text())
    prepared = prepare_config(tree)
    validate_config(prepared)
    worker, head = prepared["available_node_types"]["worker"], prepared["available_node_types"]["head"]
    assert worker["resources"]["GPU"] == gpus
    assert head["resources"] == {"CPU": 0}
    if name == "aws":
        assert worker["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
        assert "InstanceMarketOptions" not in head["node_config"]
    else:
        assert worker["node_config"]["scheduling"]["provisioningModel"] == "SPOT"
        assert "scheduling" not in head["node_config"]
    commands = " ".join([*prepared["head_start_ray_commands"], *prepared["worker_start_ray_commands"]])
    assert "--dashboard-host=127.0.0.1" in commands
    assert "--env RAY_AUTH_MODE=token" in prepared["docker"]["run_options"]


def test_no_file_holds_a_token(made: dict[str, Path]) -> None:
    for file in files(made, "*"):
        if Path(file).is_file():
            assert not re.search(r"\b[0-9a-f]{32,}\b", Path(file).read_text()), file


def expressions(tree: Any) -> list[str]:
    """Every query of a dashboard, those of its variables, too."""
    if isinstance(tree, dict):
        own = [tree[key] for key in ("expr", "query") if isinstance(tree.get(key), str)]
        return own + [query for value in tree.values() for query in expressions(value)]
    return [query for value in tree for query in expressions(value)] if isinstance(tree, list) else []


def test_dashboard_shows_what_is_exported_and_nothing_else(made: dict[str, Path]) -> None:
    tree = json.loads((made["local"] / "monitoring" / "dashboard.json").read_text())
    shown = {name for query in expressions(tree) for name in re.findall(r"\bray_(concord_\w+)", query)}
    assert shown == set(EXPORTED)
    for panel in tree["panels"]:
        (target,) = panel["targets"]
        by = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        for name in re.findall(r"ray_(concord_\w+)", target["expr"]):
            assert by <= set(EXPORTED[name][1])


def test_dashboard_is_one_that_grafana_opens(made: dict[str, Path]) -> None:
    """Structure alone: ids once, panels side by side, every target with a query and a source that is a variable."""
    tree = json.loads((made["local"] / "monitoring" / "dashboard.json").read_text())
    assert {"title", "uid", "schemaVersion", "panels", "templating", "time"} <= tree.keys()
    assert len({panel["id"] for panel in tree["panels"]}) == len(tree["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in tree["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + i, place["y"] + j) for i in range(place["w"]) for j in range(place["h"])}
        assert not cells & taken
        assert place["x"] + place["w"] <= 24
        taken |= cells
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert {variable["name"] for variable in tree["templating"]["list"]} == {"datasource", "run"}


def test_prometheus_reads_its_config(made: dict[str, Path]) -> None:
    """But for the one on Kubernetes, whose discovery Debian's build leaves out."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool: `make monitoring` installs Debian's prometheus")
    read = [file for file in files(made, "prometheus.yml") if "kubernetes" not in Path(file).read_text()]
    passes(promtool, "check", "config", *read)
