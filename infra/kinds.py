"""The kinds of cluster: which files make one, what they are made for, and the commands that follow."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

EXECUTABLE = {".sh", ".sbatch"}
_MONITORING = {
    "monitoring/prometheus.yml": "monitoring/prometheus.yml.j2",
    "monitoring/dashboard.json": "monitoring/dashboard.json",
}
_HOST = {"node.sh": "host/node.sh.j2", "ray.env": "host/ray.env.j2", ".gitignore": "host/gitignore"}
_IMAGE = {"image/Dockerfile": "image/Dockerfile.j2", "image/.dockerignore": "image/dockerignore"}
LOCK = "image/requirements.lock"
_BUILD = (
    "pip wheel --no-deps --wheel-dir {out}/image .",
    "docker build -t {image} {out}/image && docker push {image}",
)


@dataclass(frozen=True)
class Kind:
    """One kind of cluster.

    `files` maps the name of a file to its template. `options` are the settings that it reads beside `name`, `storage` and
    `recipe`, to their defaults; None must be given. `commands` follow in this order; `constants` are values of templates that
    no user chooses. `packages`: what its image needs beside concord. `machines`: GPUs of a worker to the cloud's machine that has
    them and its CPUs.
    """

    purpose: str
    files: Mapping[str, str]
    options: Mapping[str, Any]
    commands: tuple[str, ...]
    constants: Mapping[str, Any] = field(default_factory=dict)
    packages: tuple[str, ...] = ()
    machines: Mapping[int, tuple[str, int]] = field(default_factory=dict)

    @property
    def has_image(self) -> bool:
        """Whether an image is built for it."""
        return "image/Dockerfile" in self.files


_SCALE: Mapping[str, Any] = {"workers": 2, "gpus": 1, "cpus": 8}
# `cpus`: those of the machine.
_CLOUD: Mapping[str, Any] = {
    **_SCALE,
    "cpus": 0,
    "min_workers": 0,
    "image": None,
    "identity": None,
    "machine": "",
    "machine_image": "",
}
_RAY_UP = (
    "ray get-auth-token --generate",
    "ray up -y {out}/cluster.yaml",
    "RAY_AUTH_MODE=token ray dashboard {out}/cluster.yaml",
)

# GPUs of a worker to the machine that has them and its CPUs.
AWS_MACHINES = {0: ("m5.2xlarge", 8), 1: ("g5.2xlarge", 8), 4: ("g5.12xlarge", 48), 8: ("g5.48xlarge", 192)}
GCP_MACHINES = {
    0: ("n2-standard-8", 8),
    1: ("g2-standard-8", 8),
    2: ("g2-standard-24", 24),
    4: ("g2-standard-48", 48),
    8: ("g2-standard-96", 96),
}

KINDS: Mapping[str, Kind] = {
    "local": Kind(
        "one host, on loopback",
        {**_HOST, **_MONITORING},
        {},
        (
            "bash {out}/node.sh head",
            "CONCORD_FOLDER={out} && set -a && . {out}/ray.env && set +a",
            "ray job submit --address http://127.0.0.1:$CONCORD_DASHBOARD_PORT --working-dir . -- {command}",
        ),
        {"loopback": True},
    ),
    "ssh": Kind(
        "a handful of plain hosts",
        {"cluster.sh": "host/ssh.sh.j2", **_HOST, **_MONITORING},
        {"hosts": None},
        (
            "bash {out}/cluster.sh start",
            "bash {out}/cluster.sh tunnel",
            "RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH={out}/token "
            "ray job submit --address http://127.0.0.1:8265 --working-dir . -- {command}",
        ),
        {"loopback": False},
    ),
    "slurm": Kind(
        "a job of a Slurm cluster",
        {"job.sbatch": "slurm/job.sbatch.j2", **_MONITORING},
        {**_SCALE, "memory": 32},
        ("sbatch {out}/job.sbatch {command}", "squeue --me"),
    ),
    "aws": Kind(
        "`ray up` on EC2, spot workers",
        {"cluster.yaml": "cloud/aws.yaml.j2", **_IMAGE, **_MONITORING},
        {**_CLOUD, "region": None},
        (*_BUILD, *_RAY_UP),
        packages=("boto3==1.44.8",),
        machines=AWS_MACHINES,
    ),
    "gcp": Kind(
        "`ray up` on Compute Engine, spot workers",
        {"cluster.yaml": "cloud/gcp.yaml.j2", **_IMAGE, **_MONITORING},
        {**_CLOUD, "zone": None, "project": None},
        (*_BUILD, *_RAY_UP),
        packages=("google-api-python-client==2.202.0",),
        machines=GCP_MACHINES,
    ),
    "kuberay": Kind(
        "Kubernetes with KubeRay",
        {
            "kubernetes/raycluster.yaml": "kuberay/raycluster.yaml.j2",
            "kubernetes/rayjob.yaml": "kuberay/rayjob.yaml.j2",
            "kubernetes/network-policy.yaml": "kuberay/network-policy.yaml.j2",
            "kubernetes/storage.yaml": "kuberay/storage.yaml.j2",
            "kubernetes/queue.yaml": "kuberay/queue.yaml.j2",
            **_IMAGE,
            **_MONITORING,
        },
        {**_SCALE, "min_workers": 0, "memory": 32, "image": None, "identity": ""},
        (
            *_BUILD,
            "kubectl apply -f {out}/kubernetes/network-policy.yaml{storage_claim}",
            "kubectl create -f {out}/kubernetes/rayjob.yaml",
        ),
    ),
}


def render(kind: str, values: Mapping[str, Any]) -> dict[str, str]:
    """The files of a cluster of `kind`, name to text, filled with `values`; those that these leave empty are left out."""
    environment = Environment(
        loader=PackageLoader("infra"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"quote": shlex.quote, "json": json.dumps}
    chosen = KINDS[kind]
    filled = {**chosen.constants, "packages": chosen.packages, "kubernetes": kind == "kuberay", **values}

    def text(file: str) -> str:
        """A template filled in, any other file as it is."""
        if file.endswith(".j2"):
            return environment.get_template(file).render(filled)
        assert environment.loader is not None
        return environment.loader.get_source(environment, file)[0]

    texts = {name: text(file) for name, file in chosen.files.items()}
    return {name: text for name, text in texts.items() if text.strip()}


def is_executable(name: str) -> bool:
    """Whether the file of that name is a script."""
    return PurePosixPath(name).suffix in EXECUTABLE
