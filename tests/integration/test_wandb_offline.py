"""Real W&B runs, recorded offline and read back from their files."""

import json
import time

import pytest
import wandb

from cluster.observers import Observer, WandbTracker
from cluster.observers import tracking as tracking_module
from multitask.config.cluster import TrackingConfig
from tests.unit.observers.samples import dev_record, outcome, run_info, train_record
from tests.wandb_reader import OfflineRun, read_runs

TRACKING = TrackingConfig(project="p")
TABLES = {
    "confusion/sst": {"labels": ["neg", "pos"], "matrix": [[7, 1], [2, 5]]},
    "worst/sst": {"columns": ["text", "label", "predicted"], "rows": [["bad film", "neg", 1], ["fine", 1, 0.5]]},
}


@pytest.fixture(autouse=True)
def own_wandb(monkeypatch, tmp_path):
    """No login, no network, no file outside of the test's folder, and no W&B process afterwards."""
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("DATA", "CACHE", "CONFIG", "ARTIFACT"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "home" / name.lower()))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    wandb.teardown()
    yield
    wandb.teardown()


def track(folder, *records, end=None, tracking=TRACKING, **changes) -> OfflineRun:
    tracker: Observer = WandbTracker(tracking)
    tracker.start(run_info(str(folder), **changes))
    for record in records:
        tracker.report(record)
    tracker.finish(end or outcome())
    return read_runs(folder)[-1]


def test_a_whole_run_can_be_read_back(tmp_path, capfd):
    secret_config = {"seed": 3, "data": {"root": "s3://key:pass@bucket/d"}, "api_key": "hidden"}
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "model.safetensors").write_bytes(b"weights")
    end = outcome(files={"export": str(tmp_path / "export")})
    records = [dev_record(0, 0.2), train_record(10), train_record(20) | dev_record(20, 0.6), dev_record(30, 0.5, False)]
    run = track(tmp_path, *records[:3], records[3] | {"tables": TABLES}, end=end, config=secret_config)

    assert run.id == "main-1"
    assert run.exit_code == 0
    assert run.config["seed"] == 3
    assert run.config["data"] == {"root": "s3://bucket/d"}
    assert "api_key" not in run.config
    assert run.config["data_hashes"] == {"sst": "abc"}
    assert run.config["versions"] == {"torch": "2.13"}
    assert run.config["run"]["workers"] == 2
    for record in records:
        for key in record:
            if key.startswith("dev/") and key != "dev/best":
                assert (record["step"], record[key]) in run.points(key)
    assert run.points("train/loss/sst") == [(10, 1.213), (20, 1.213)]
    assert run.points("dev/best") == []
    assert run.summary["dev/sst/accuracy"] == {"max": 0.6, "last": 0.5}
    assert run.summary["before/sst/accuracy"] == 0.2
    assert run.summary["after/mean"] == 0.65
    assert run.summary["seconds/train"] == 301.0
    assert run.summary["status"] == "finished"
    assert capfd.readouterr().err.count("W&B:") == 0
    _check_metrics(run)
    _check_tables(run, tmp_path)
    (model,) = (artifact for artifact in run.artifacts if artifact.type == "model")
    assert model.name == "main"
    assert "best" in model.aliases
    (entry,) = model.manifest.contents
    assert entry.path == "model.safetensors"
    assert entry.local_path == str(tmp_path / "export" / "model.safetensors")


def test_a_model_at_a_uri_is_named_and_not_sent(tmp_path, capfd):
    run = track(tmp_path, end=outcome(files={"export": "s3://bucket/runs/main/export"}))
    assert run.artifacts == []
    assert run.summary["files/export"] == "s3://bucket/runs/main/export"
    assert capfd.readouterr().err == ""


def test_a_model_is_kept_back_on_request_and_a_missing_one_is_no_failure(tmp_path, capfd):
    missing = outcome(files={"export": str(tmp_path / "nowhere")})
    assert track(tmp_path, end=missing, tracking=TrackingConfig(log_model=False)).artifacts == []
    assert capfd.readouterr().err == ""
    run = track(tmp_path, end=missing)
    assert (run.artifacts, run.exit_code) == ([], 0)
    assert capfd.readouterr().err.startswith("W&B: FileNotFoundError: ")


def _check_metrics(run: OfflineRun) -> None:
    defined = {metric.name or metric.glob_name: metric for metric in run.metrics}
    groups = ("dev/*", "train/*", "combination/*", "throughput/*")
    assert {name: defined[name].step_metric for name in groups} == dict.fromkeys(groups, "step")
    assert defined["dev/*"].summary.max
    assert defined["dev/*"].summary.last


def _check_tables(run: OfflineRun, folder) -> None:
    row = run.history[-1]
    (media,) = (folder / "wandb").glob("offline-run-*/files")
    worst = json.loads((media / row["worst/sst/path"]).read_text())
    assert worst["columns"] == ["text", "label", "predicted"]
    assert worst["data"] == TABLES["worst/sst"]["rows"]
    confusion = json.loads((media / row["confusion/sst_table/path"]).read_text())
    assert confusion["data"] == [["neg", "neg", 7], ["neg", "pos", 1], ["pos", "neg", 2], ["pos", "pos", 5]]
    assert "wandb/confusion_matrix/v1" in json.dumps(run.config)


def test_nothing_of_the_environment_is_sent(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_SECRET_TOKEN", "do-not-tell")
    run = track(tmp_path, train_record(10))
    for file in (tmp_path / "wandb").rglob("*"):
        assert not file.is_file() or b"do-not-tell" not in file.read_bytes()
    assert not run.kinds & {"environment", "stats"}  # command line, user, machine
    assert not list((tmp_path / "wandb").rglob("requirements.txt"))


def test_a_restart_of_the_workers_stays_one_run_and_loses_no_evaluation(tmp_path):
    tracker = WandbTracker(TrackingConfig())
    tracker.start(run_info(str(tmp_path)))
    for step in (10, 20, 30):
        tracker.report(dev_record(step, step / 100))
    tracker.start(run_info(str(tmp_path), resumed_step=10))
    for step in (20, 30, 40):
        tracker.report(dev_record(step, step / 100 + 0.001))
    tracker.finish(outcome(status="failed", error="worker 0: boom"))
    (run,) = read_runs(tmp_path)
    expected = [(10, 0.1), (20, 0.2), (30, 0.3), (20, 0.201), (30, 0.301), (40, 0.401)]
    assert run.points("dev/sst/accuracy") == expected
    assert run.exit_code == 1
    assert run.summary["error"] == "worker 0: boom"


def test_a_new_process_adds_rows_of_the_same_run_above_the_old_ones(tmp_path):
    track(tmp_path, dev_record(10, 0.1), dev_record(20, 0.2))
    track(tmp_path, dev_record(20, 0.3), dev_record(30, 0.4), resumed_step=10)
    first, second = read_runs(tmp_path)
    assert first.id == second.id == "main-1"
    rows = [row["_step"] for run in (first, second) for row in run.history]
    assert rows == [10, 20, 21, 30]


def test_what_is_logged_can_be_read_within_a_second_or_two(tmp_path):
    tracker = WandbTracker(TrackingConfig())
    tracker.start(run_info(str(tmp_path)))
    tracker.report(dev_record(10, 0.1))
    _wait_for(lambda: read_runs(tmp_path)[0].points("dev/mean") == [(10, 0.45)])
    tracker.finish(outcome())


def _wait_for(condition, seconds=10.0):  # W&B flushes every 15 s unless told otherwise

    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_an_unreachable_server_means_an_offline_run(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(tracking_module, "INIT_TIMEOUT_S", 1.0)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    wandb.teardown()
    run = track(tmp_path, dev_record(10, 0.1))
    assert run.points("dev/mean") == [(10, 0.45)]
    assert run.exit_code == 0
    warnings = [line for line in capfd.readouterr().err.splitlines() if line.startswith("W&B:")]
    assert len(warnings) == 1
    assert warnings[0].endswith("recording offline; `wandb sync` sends it later")
