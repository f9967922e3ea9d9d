"""The device that DeepSpeed takes."""

import os

import pytest

from cluster.zero.engine import import_deepspeed


def test_run_on_the_cpu_takes_it_whatever_the_host_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DS_ACCELERATOR", "cuda")
    import_deepspeed("cpu")
    assert os.environ["DS_ACCELERATOR"] == "cpu"
