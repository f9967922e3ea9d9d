"""Clusters of every kind, as `concord cluster init` makes them."""

from typing import Any

# Options to each kind, the smallest and others that take other branches of the templates.
GIVEN: dict[str, tuple[str, dict[str, Any]]] = {
    "local": ("local", {}),
    "ssh": ("ssh", {"hosts": ["ann@one", "two", "10.0.0.3"], "storage": "/nfs/runs"}),
    "slurm": ("slurm", {"storage": "/nfs/runs", "gpus": 4, "cpus": 48, "memory": 200, "workers": 3}),
    "slurm-cpu": ("slurm", {"storage": "s3://runs/a", "gpus": 0}),
    "aws": (
        "aws",
        {
            "storage": "s3://runs/a",
            "image": "team/concord:1",
            "region": "us-west-2",
            "identity": "arn:aws:iam::1:instance-profile/x",
        },
    ),
    "gcp": (
        "gcp",
        {
            "storage": "gs://runs/a",
            "image": "team/concord:1",
            "zone": "us-west1-a",
            "project": "p",
            "identity": "x@y.z",
            "machine_image": "projects/p/global/images/i",
            "gpus": 4,
            "workers": 8,
            "min_workers": 2,
        },
    ),
    "kuberay": ("kuberay", {"image": "team/concord:1", "workers": 4, "min_workers": 1, "gpus": 2}),
    "kuberay-s3": ("kuberay", {"image": "team/concord:1", "storage": "s3://runs/a", "gpus": 0, "identity": "trainer"}),
}
