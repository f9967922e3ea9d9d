"""What a run and a sweep export, by gauges that only remember."""

import pickle
from types import SimpleNamespace

import pytest

from cluster.launch import metrics
from cluster.launch.metrics import EXPORTED, RunMetrics
from cluster.launch.run_board import ControllerObserver
from cluster.sweeps.sweep_metrics import SweepMetrics
from tests.unit.training.samples import dev_record, outcome, run_info, train_record

Values = dict[tuple[str, ...], float]


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Values:
    """Name and tags of every gauge that was set, to its last value."""
    values: Values = {}

    class Gauge:
        def __init__(self, name: str, says: str, keys: tuple[str, ...]) -> None:
            assert (says, keys) == EXPORTED[name]
            self.name, self.keys = name, keys

        def set(self, value: float, tags: dict[str, str]) -> None:
            assert tuple(tags) == self.keys
            values[self.name, *tags.values()] = value

    monkeypatch.setattr(metrics, "Gauge", Gauge)
    return values


def test_run_exports_its_records(exported: Values) -> None:
    observer: RunMetrics = pickle.loads(pickle.dumps(RunMetrics()))
    run = run_info()
    observer.start(run)
    assert exported == {
        ("concord_step", run.name): 0,
        ("concord_total_steps", run.name): run.total_steps,
        ("concord_workers", run.name): run.workers,
        ("concord_restarts", run.name): 0,
    }
    observer.report(
        {
            "step": 7,
            "epoch": 0.5,
            "phase": 0,
            "train/loss/sst": 1.5,
            "train/grad_norm": 0.25,
            "train/skipped_steps": 2,
            "train/lr": 1e-5,
            "throughput/tokens_per_s": 1000.0,
            "throughput/padding": 0.125,
            "throughput/mfu": 0.375,
            "throughput/peak_memory_gib": 7.5,
            "throughput/slowest_rank": 1,
            "throughput/slowest_over_mean": 1.25,
            "throughput/checkpoint_s": 3.5,
            "combination/conflict_rate": 0.75,
            "combination/weight/sst": 0.5,
            "dev/sst/accuracy": 0.5,
            "dev/sts/pearson": 0.75,
            "dev/mean": 0.625,
            "dev/best": True,
            "tables": {},
        }
    )
    assert {
        key: value for key, value in exported.items() if key[0] not in ("concord_total_steps", "concord_workers")
    } == {
        ("concord_step", run.name): 7,
        ("concord_restarts", run.name): 0,
        ("concord_loss", run.name, "sst"): 1.5,
        ("concord_gradient_norm", run.name): 0.25,
        ("concord_skipped_steps", run.name): 2,
        ("concord_tokens_per_second", run.name): 1000,
        ("concord_padding", run.name): 0.125,
        ("concord_mfu", run.name): 0.375,
        ("concord_peak_memory_gib", run.name): 7.5,
        ("concord_slowest_rank", run.name): 1,
        ("concord_slowest_over_mean", run.name): 1.25,
        ("concord_checkpoint_seconds", run.name): 3.5,
        ("concord_conflict_rate", run.name): 0.75,
        ("concord_dev_score", run.name, "sst", "accuracy"): 0.5,
        ("concord_dev_score", run.name, "sts", "pearson"): 0.75,
        ("concord_dev_score", run.name, "mean", "mean"): 0.625,
    }
    assert {key[0] for key in exported} | {"concord_sweep_trials"} == set(EXPORTED)


def test_restarts_are_counted_and_the_step_goes_back(exported: Values) -> None:
    observer, run = RunMetrics(), run_info()
    observer.start(run)
    observer.report(train_record(10))
    observer.start(run)
    assert exported["concord_restarts", run.name] == 1
    assert exported["concord_step", run.name] == run.resumed_step


def test_a_gauge_that_fails_ends_no_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(*arguments: object) -> None:
        raise RuntimeError("no agent")

    monkeypatch.setattr(metrics, "Gauge", broken)
    controller = ControllerObserver([RunMetrics()])
    controller.take({"run_info": vars(run_info())})
    controller.take(dev_record(10, 0.5) | {"outcome": vars(outcome())})
    controller.after_controller_finish(SimpleNamespace(error=None))  # type: ignore[arg-type]
    assert capsys.readouterr().err == "RunMetrics failed and is left out: RuntimeError: no agent\n"


def sweep(*states: str) -> SimpleNamespace:
    return SimpleNamespace(name="s", trials=[SimpleNamespace(status=state) for state in states])


def test_sweep_exports_its_trials_by_state_and_is_watched(exported: Values) -> None:
    seen: list[object] = []
    watch = SweepMetrics(seen.append)
    watch(sweep("running", "running", "waiting"))  # type: ignore[arg-type]
    watch(sweep("finished", "running", "failed"))  # type: ignore[arg-type]
    assert len(seen) == 2
    assert exported == {
        ("concord_sweep_trials", "s", "waiting"): 0,
        ("concord_sweep_trials", "s", "running"): 1,
        ("concord_sweep_trials", "s", "finished"): 1,
        ("concord_sweep_trials", "s", "stopped"): 0,
        ("concord_sweep_trials", "s", "failed"): 1,
    }


def test_sweep_goes_on_without_metrics(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[object] = []
    watch = SweepMetrics(seen.append)
    monkeypatch.setattr(metrics, "Gauge", None)
    watch(sweep("running"))  # type: ignore[arg-type]
    watch(sweep("running"))  # type: ignore[arg-type]
    assert len(seen) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
