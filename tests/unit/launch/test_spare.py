"""The process that waits beside a worker."""

import os
import subprocess
import sys

import pytest
from ray._common.utils import load_class
from ray._private.ray_constants import WORKER_PROCESS_SETUP_HOOK_ENV_VAR as HOOK

from cluster.launch.spare import import_training, worker_environment


def test_hook_is_what_ray_will_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(HOOK, raising=False)
    assert load_class(worker_environment(use_gpu=False)[HOOK]) is import_training
    assert "DS_ACCELERATOR" not in worker_environment(use_gpu=True)


def test_hook_of_the_users_job_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOOK, "theirs.hook")
    assert worker_environment(use_gpu=False) == {}


def test_process_has_imported_what_trains_and_taken_no_gpu() -> None:
    code = (
        "import sys; from cluster.launch.spare import import_training; import_training(); import torch;"
        "print('cluster.training.worker' in sys.modules, 'deepspeed' in sys.modules, torch.cuda.is_initialized())"
    )
    environment = {"DS_ACCELERATOR": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment}, check=True
    )
    assert done.stdout.split()[-3:] == ["True", "True", "False"]
