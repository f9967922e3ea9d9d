"""The scripts that `concord cluster init` writes, run with stand-ins for ssh, Slurm and Ray."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from cluster.api.cluster_files import init_cluster
from tests.unit.infra.made import GIVEN

# `ray start` that says it is up and stays until it is ended; what it was given is left beside its token.
RAY = """#!/usr/bin/env bash
echo "$*" >>"$CONCORD_FOLDER/started"
[ -e "$CONCORD_FOLDER/broken" ] && { echo "no port is free"; exit 1; }
echo "Ray runtime started."
exec sleep 300
"""
# Each host is a folder: its home.
SSH = """#!/usr/bin/env bash
while [ "${1#-}" != "$1" ]; do shift 2; done
host=$1; shift
mkdir -p "$LAB/$host"
echo "$host $*" >>"$LAB/ssh.log"
HOME="$LAB/$host" BASH_ENV= exec bash -c "cd; export HOME='$LAB/$host'; ${*//bash -lc/bash -c}"
"""
SRUN = """#!/usr/bin/env bash
while [ "${1#-}" != "$1" ]; do shift; done
"$@"
[ $? = 0 ] && exit 0
exit 143
"""
SYMMETRIC_RUN = """#!/usr/bin/env bash
echo "$*" >"$LAB/ray.log"
while [ "$1" != -- ]; do shift; done
shift
"$@"
"""
SCONTROL = """#!/usr/bin/env bash
[ "$1" = show ] && { echo localhost; exit 0; }
echo "$*" >>"$LAB/scontrol.log"
"""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for what the stand-ins keep, with `bin` before everything else."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("LAB", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


def stand_in(lab: Path, name: str, text: str) -> None:
    file = lab / "bin" / name
    file.write_text(text)
    file.chmod(0o755)


def call(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def hosts(lab: Path) -> Path:
    """`cluster.sh` over three hosts; nothing of them stays."""
    stand_in(lab, "ray", RAY)
    stand_in(lab, "ssh", SSH)
    kind, given = GIVEN["ssh"]
    yield init_cluster(kind, lab / "made", **given).folder / "cluster.sh"  # type: ignore[misc]
    call("bash", lab / "made" / "cluster.sh", "stop")


def test_hosts_are_started_with_one_token_and_stopped(lab: Path, hosts: Path) -> None:
    started = call("bash", hosts, "start")
    assert started.returncode == 0, started.stdout + started.stderr
    places = [lab / host / ".concord" / "concord" for host in ("ann@one", "two", "10.0.0.3")]
    tokens = {(place / "token").read_text() for place in places}
    assert len(tokens) == 1
    (token,) = tokens
    assert len(token) == 64
    assert {oct((place / "token").stat().st_mode & 0o777) for place in places} == {"0o600"}
    assert len({(place / "ray.env").read_text() for place in places}) == 1
    assert token not in (lab / "ssh.log").read_text()
    head, *others = [(place / "started").read_text() for place in places]
    assert "--head" in head
    assert "--dashboard-host=127.0.0.1" in head
    assert all("--address=one:6379" in other for other in others)
    assert call("bash", hosts, "status").returncode == 0
    again = call("bash", hosts, "start")
    assert again.returncode == 0
    assert [(place / "started").read_text().count("\n") for place in places] == [1, 1, 1]
    stopped = call("bash", hosts, "stop")
    assert stopped.returncode == 0
    asked = [line.split()[0] for line in (lab / "ssh.log").read_text().splitlines() if "node.sh stop" in line]
    assert asked == ["two", "10.0.0.3", "ann@one"]
    down = call("bash", hosts, "status")
    assert down.returncode == 1
    assert down.stderr.count("does not run") == 3


def test_a_host_whose_ray_does_not_start_is_named_with_its_reason(lab: Path, hosts: Path) -> None:
    (lab / "two" / ".concord" / "concord").mkdir(parents=True)
    (lab / "two" / ".concord" / "concord" / "broken").touch()
    started = call("bash", hosts, "start")
    assert started.returncode == 1
    assert "Ray did not start: no port is free" in started.stderr


def test_stop_leaves_a_process_alone_that_took_the_number(lab: Path, hosts: Path) -> None:
    place = lab / "two" / ".concord" / "concord"
    call("bash", hosts, "start")
    call("bash", hosts, "stop")
    with subprocess.Popen(["sleep", "60"]) as other:
        (place / "node.pid").write_text(str(other.pid))
        assert call("bash", hosts, "stop").returncode == 0
        assert other.poll() is None
        other.kill()


@pytest.fixture
def sbatch(lab: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The batch script, as Slurm starts it on the first node."""
    for name, text in {"srun": SRUN, "ray": SYMMETRIC_RUN, "scontrol": SCONTROL}.items():
        stand_in(lab, name, text)
    for name, value in {"JOB_ID": "12", "JOB_NODELIST": "localhost", "JOB_NUM_NODES": "3"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    kind, given = GIVEN["slurm"]
    return init_cluster(kind, lab / "made", **given).folder / "job.sbatch"


@pytest.mark.parametrize("code", [0, 2, 7])
def test_slurm_job_ends_with_the_code_of_its_command(lab: Path, sbatch: Path, code: int) -> None:
    """Also where Slurm makes 143 of it, since the other nodes were ended with it."""
    assert call("bash", sbatch, "bash", "-c", f"exit {code}").returncode == code
    told = (lab / "ray.log").read_text()
    assert told.startswith("symmetric-run --address 127.0.0.1:20012 --min-nodes 3 --num-cpus=48 --num-gpus=4 ")
    assert not (lab / "scontrol.log").exists()
    token = lab / "home" / ".concord" / "concord" / "token"
    assert oct(token.stat().st_mode & 0o777) == "0o600"


@pytest.mark.parametrize(("code", "again"), [(1, True), (0, False)])
def test_slurm_job_that_is_noticed_saves_and_is_queued_again(lab: Path, sbatch: Path, code: int, again: bool) -> None:
    """The notice reaches the command as SIGTERM; what it does not finish by then goes on later."""
    driver = f"trap 'echo saved >{lab}/saved; exit {code}' TERM; touch {lab}/up; while :; do sleep .1; done"
    with subprocess.Popen(["bash", sbatch, "bash", "-c", driver], stdout=subprocess.PIPE, text=True) as job:
        for _ in range(600):
            if (lab / "up").exists():
                break
            time.sleep(0.1)
        job.send_signal(signal.SIGUSR1)
        assert job.wait(60) == 0
    assert (lab / "saved").read_text() == "saved\n"
    assert (lab / "scontrol.log").exists() == again
    if again:
        assert (lab / "scontrol.log").read_text() == "requeue 12\n"


def test_slurm_job_without_a_command_trains_the_recipe(lab: Path, sbatch: Path) -> None:
    stand_in(lab, "concord", '#!/usr/bin/env bash\necho "$*" >"$LAB/concord.log"\n')
    assert call("bash", sbatch).returncode == 0
    assert (lab / "concord.log").read_text() == (
        "train main name=concord cluster.storage=/nfs/runs cluster.workers=12\n"
    )
