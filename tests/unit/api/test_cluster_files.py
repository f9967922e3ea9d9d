"""`init_cluster`: all files or none, and which options it takes."""

from pathlib import Path
from typing import Any

import pytest

from cluster.api import cluster_files
from cluster.api.cluster_files import init_cluster
from cluster.api.locked_versions import locked_versions
from multitask.errors import UserError
from tests.unit.infra.made import GIVEN

AWS = GIVEN["aws"][1]
GCP = GIVEN["gcp"][1]


def content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize(
    ("kind", "given", "told"),
    [
        ("k8s", {}, "there is no kind of cluster 'k8s'; valid: local, ssh, slurm, aws, gcp, kuberay"),
        ("local", {"region": "x"}, "local does not read --region; it reads --name, --storage, --recipe"),
        ("slurm", {"storage": "/r", "image": "a:1"}, "slurm does not read --image"),
        ("local", {"name": "A_b"}, "--name must be small letters"),
        ("local", {"name": "a" * 41}, "--name must be small letters"),
        ("local", {"name": "a\n"}, "--name must be small letters"),
        ("local", {"recipe": "a b"}, "--recipe must be one word"),
        ("ssh", {"storage": "/r"}, "ssh needs --host"),
        ("ssh", {"hosts": ["a"]}, "ssh needs --storage"),
        ("ssh", {"hosts": ["a"], "storage": "runs"}, "--storage must be an absolute folder"),
        ("ssh", {"hosts": ["-oProxyCommand=x"], "storage": "/r"}, "--host must be HOST or USER@HOST"),
        ("ssh", {"hosts": ["a", "a"], "storage": "/r"}, "--host names a host twice: a, a"),
        ("slurm", {"storage": "s3://key:secret@bucket/runs"}, "--storage must be SCHEME://BUCKET/FOLDER, without keys"),
        ("slurm", {"storage": "/r", "workers": 0}, "--workers must lie in [1, 10000], got 0"),
        ("slurm", {"storage": "/r", "gpus": -1}, "--gpus must lie in [0, 16], got -1"),
        ("slurm", {"storage": "/r", "memory": 0}, "--memory must lie in [1, 24576], got 0"),
        ("kuberay", {}, "kuberay needs --image"),
        ("kuberay", {"image": "concord"}, "--image must be an image with a tag"),
        ("kuberay", {"image": "concord:latest"}, "--image must be an image with a tag"),
        ("kuberay", {"image": "a:1", "min_workers": 3}, "--min-workers must not be above --workers=2, got 3"),
        ("aws", {**AWS, "storage": "/nfs"}, "--storage: machines of aws come and go and share no disk; give s3://"),
        ("gcp", {**GCP, "storage": "s3://b/r"}, "give gs://BUCKET/FOLDER"),
        ("aws", {**AWS, "gpus": 3}, "--gpus=3 needs --machine and --cpus; machines are known with 0, 1, 4, 8 GPUs"),
        ("aws", {**AWS, "machine": "p5.48xlarge"}, "--machine=p5.48xlarge needs --cpus"),
        ("aws", {**AWS, "region": 'x"; rm'}, "--region must be one word"),
        ("gcp", {**GCP, "machine_image": None}, "--gpus on gcp needs --machine-image"),
        ("gcp", {**GCP, "project": None}, "gcp needs --project"),
    ],
)
def test_mistake_names_its_option_and_nothing_is_written(
    tmp_path: Path, kind: str, given: dict[str, Any], told: str
) -> None:
    with pytest.raises(UserError) as refused:
        init_cluster(kind, tmp_path / "made", **given)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "secret" not in str(refused.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", list(GIVEN))
def test_a_cluster_is_written_with_commands_that_name_its_files(tmp_path: Path, name: str) -> None:
    kind, given = GIVEN[name]
    made = init_cluster(kind, tmp_path / "made", **given)
    assert set(content(made.folder)) == set(made.files)
    assert list(tmp_path.iterdir()) == [made.folder]
    words = " ".join(made.commands).split()
    named = [word for word in words if word.startswith(str(made.folder)) and not word.endswith(("/image", "/token"))]
    for word in named:
        assert Path(word).exists()
    assert "{" not in " ".join(made.commands)
    for file in made.files:
        assert bool((made.folder / file).stat().st_mode & 0o100) == file.endswith((".sh", ".sbatch"))


def test_files_that_are_there_are_kept_unless_told(tmp_path: Path) -> None:
    out = tmp_path / "made"
    init_cluster("local", out)
    (out / "node.sh").write_text("mine")
    (out / "token").write_text("secret")
    before = content(out)
    with pytest.raises(UserError, match=r"node\.sh is there already; nothing was written; --overwrite replaces it"):
        init_cluster("local", out, name="other")
    assert content(out) == before
    init_cluster("local", out, overwrite=True, name="other")
    after = content(out)
    assert after["token"] == b"secret"
    assert b"the cluster other" in after["node.sh"]
    assert list(tmp_path.iterdir()) == [out]


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {f"{i}.yaml": "a: 1\n" for i in range(3)} | {"a\0b": ""}
    monkeypatch.setattr(cluster_files, "render", lambda kind, values: texts)
    with pytest.raises(ValueError, match="null"):
        init_cluster("local", tmp_path / "made")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="--out: cannot write"):
        init_cluster("local", tmp_path / "file" / "made")


def test_lock_holds_what_is_installed_and_needed_and_no_tools() -> None:
    from importlib.metadata import version

    lock = dict(line.split("==") for line in locked_versions().splitlines() if not line.startswith("#"))
    for name in ("ray", "torch", "deepspeed", "transformers", "aiohttp", "jinja2", "markupsafe"):
        assert lock[name] == version(name).partition("+")[0]
    assert not {"pytest", "ruff", "concord-mtl"} & set(lock)
