"""Real W&B runs, recorded offline and read back from their files."""

import json
import time

import pytest
import ray
import wandb

from cluster.tracking import run_settings
from cluster.tracking.tracker import WandbTracker
from cluster.training.observer import Observer
from multitask.config.cluster import TrackingConfig
from tests.tracked_process import track_and_kill, wait_for
from tests.unit.training.samples import dev_record, outcome, run_info, train_record
from tests.wandb_reader import OfflineRun, read_runs
from tests.wandb_server import log_in, own_environment, serving

TRACKING = TrackingConfig(project="p")
TABLES = {
    "confusion/sst": {"labels": ["neg", "pos"], "matrix": [[7, 1], [2, 5]]},
    "worst/sst": {"columns": ["text", "label", "predicted"], "rows": [["bad film", "neg", 1], ["fine", 1, 0.5]]},
}


@pytest.fixture(autouse=True)
def own_wandb(monkeypatch, tmp_path):
    """No login, no network, no file outside of the test's folder, and no W&B process afterwards."""
    own_environment(monkeypatch, tmp_path)
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
    row = run.history[-2]
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


def test_a_restart_of_the_workers_stays_one_run_whose_curves_do_not_go_back(tmp_path):
    tracker = WandbTracker(TrackingConfig())
    tracker.start(run_info(str(tmp_path)))
    for step in (10, 20, 30):
        tracker.report(dev_record(step, step / 100))
    tracker.start(run_info(str(tmp_path), resumed_step=10))
    for step in (20, 30, 40):
        tracker.report(dev_record(step, step / 100 + 0.001))
    tracker.finish(outcome(status="failed", error="worker 0: boom"))
    (run,) = read_runs(tmp_path)
    expected = [(10, 0.1), (20, 0.2), (30, 0.3), (40, 0.401)]
    assert run.points("dev/sst/accuracy") == expected
    assert run.exit_code == 1
    assert run.summary["error"] == "worker 0: boom"


def test_a_new_process_adds_rows_of_the_same_run_above_the_old_ones(tmp_path):
    track(tmp_path, dev_record(10, 0.1), dev_record(20, 0.2))
    track(tmp_path, dev_record(20, 0.3), dev_record(30, 0.4), resumed_step=10)
    first, second = read_runs(tmp_path)
    assert first.id == second.id == "main-1"
    rows = [row["_step"] for run in (first, second) for row in run.history]
    assert rows == [10, 20, 30]


def test_what_is_logged_can_be_read_within_a_second_or_two(tmp_path):
    tracker = WandbTracker(TrackingConfig())
    tracker.start(run_info(str(tmp_path)))
    tracker.report(dev_record(10, 0.1))
    wait_for(lambda: read_runs(tmp_path)[0].points("dev/mean") == [(10, 0.45)])
    tracker.finish(outcome())


def test_an_unreachable_server_means_an_offline_run(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(run_settings, "INIT_TIMEOUT_S", 1.0)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    wandb.teardown()
    run = track(tmp_path, dev_record(10, 0.1))
    assert run.points("dev/mean") == [(10, 0.45)]
    assert run.exit_code == 0
    warnings = [line for line in capfd.readouterr().err.splitlines() if line.startswith("W&B:")]
    assert len(warnings) == 1
    assert warnings[0].endswith("recording offline; `concord wandb sync` sends it later")


def test_a_refused_key_costs_one_line_and_the_run_is_recorded_offline(tmp_path, monkeypatch, capfd):
    with serving(refuse=True) as server:
        log_in(monkeypatch, server.url)
        run = track(tmp_path, dev_record(10, 0.1))
    assert run.points("dev/mean") == [(10, 0.45)]
    lines = [line for line in capfd.readouterr().err.splitlines() if not line.startswith("wandb: [wandb.login()]")]
    problem = "the server refused the API key (`wandb login --relogin` takes another)"
    assert lines == [f"W&B: {problem}; recording offline; `concord wandb sync` sends it later"]


def test_a_killed_process_loses_nothing_and_its_run_goes_on_in_the_next(tmp_path):
    track_and_kill(tmp_path, (10, 0.5), (20, 0.9))
    (killed,) = read_runs(tmp_path)
    assert killed.points("dev/sst/accuracy") == [(10, 0.5), (20, 0.9)]
    assert killed.exit_code is None
    assert killed.summary["state"] == "running"
    track(tmp_path, dev_record(20, 0.7), dev_record(30, 0.6), resumed_step=10)
    first, second = read_runs(tmp_path)
    assert first.id == second.id
    assert second.summary["state"] == "finished"
    # Step 20 was trained again, and is one point of one curve all the same.
    assert [row["step"] for run in (first, second) for row in run.history] == [10, 20, 30]
    # The second process recorded nothing better than 0.6, and its summary is the one that W&B keeps.
    assert second.summary["dev/sst/accuracy"] == {"max": 0.9, "last": 0.6}


def test_what_a_killed_process_had_not_written_is_taken_from_the_runs_history(tmp_path):
    track_and_kill(tmp_path, (10, 0.5))
    train, dev = [train_record(step) for step in (10, 20, 25, 30)], [dev_record(10, 0.5), dev_record(20, 0.9)]
    (tmp_path / "history.json").write_text(json.dumps({"train": train, "dev": dev}))
    track(tmp_path, dev_record(30, 0.6), resumed_step=25)
    _, second = read_runs(tmp_path)
    assert second.points("dev/sst/accuracy") == [(20, 0.9), (30, 0.6)]
    assert second.points("train/loss/sst") == [(20, 1.213), (25, 1.213)]
    assert second.summary["dev/sst/accuracy"] == {"max": 0.9, "last": 0.6}
    track(tmp_path, dev_record(30, 0.6), dev_record(40, 0.7), resumed_step=25)
    assert read_runs(tmp_path)[2].points("dev/sst/accuracy") == [(40, 0.7)]


def test_steps_that_were_sent_and_not_written_are_recorded_when_they_are_trained_again(tmp_path):
    track_and_kill(tmp_path, (10, 0.5))
    state = next((tmp_path / "wandb").glob("*.json"))
    state.write_text(json.dumps(json.loads(state.read_text()) | {"next_row": 31, "steps": {"dev": 30}}))
    track(tmp_path, dev_record(20, 0.6), dev_record(30, 0.7), resumed_step=10)
    assert read_runs(tmp_path)[1].points("dev/sst/accuracy") == [(20, 0.6), (30, 0.7)]


def test_rows_that_were_sent_before_anything_was_written_are_taken_from_the_history(tmp_path):
    track_and_kill(tmp_path)
    state = next((tmp_path / "wandb").glob("*.json"))
    state.write_text(json.dumps(json.loads(state.read_text()) | {"next_row": 21, "steps": {"dev": 20}}))
    dev = [dev_record(10, 0.5), dev_record(20, 0.9)]
    (tmp_path / "history.json").write_text(json.dumps({"train": [], "dev": dev}))
    track(tmp_path, dev_record(30, 0.6), resumed_step=20)
    assert read_runs(tmp_path)[1].points("dev/sst/accuracy") == [(10, 0.5), (20, 0.9), (30, 0.6)]


def test_a_run_killed_before_its_first_row_in_a_new_process_keeps_its_best_scores(tmp_path):
    track_and_kill(tmp_path, (10, 0.5))
    track_and_kill(tmp_path)
    assert read_runs(tmp_path)[1].summary["dev/sst/accuracy"] == {"max": 0.5, "last": 0.5}


@pytest.mark.ray
def test_nothing_is_lost_when_the_controller_is_killed(tmp_path):
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        controller = ray.remote(num_cpus=0)(_Controller).remote(str(tmp_path))
        ray.get(controller.report.remote(10, 0.5))
        ray.get(controller.report.remote(20, 0.9))
        time.sleep(1.5)
        ray.kill(controller)
        wait_for(lambda: read_runs(tmp_path)[0].points("dev/sst/accuracy") == [(10, 0.5), (20, 0.9)])
    finally:
        ray.shutdown()


class _Controller:
    def __init__(self, folder: str) -> None:
        self._tracker = WandbTracker(TrackingConfig(mode="offline"))
        self._tracker.start(run_info(folder))

    def report(self, step: int, accuracy: float) -> None:
        self._tracker.report(dev_record(step, accuracy))


def test_a_trial_is_tracked_as_one_of_its_sweep(tmp_path):
    sample = {"optimizer.lr": 1e-4, "sampling.name": "annealed", "sampling.annealed.start": 1.0}
    tracking = TrackingConfig(
        project="p",
        group="main-default",
        job_type="trial",
        tags=("sampling:annealed", "combination:pcgrad"),
        extra={"sweep": "main-default", "sample": sample},
    )
    end = outcome(status="stopped", error="the scheduler ended it after 2 of 9 evaluations")
    run = track(tmp_path, dev_record(10, 0.1), tracking=tracking, end=end)
    assert (run.run.run_group, run.run.job_type) == ("main-default", "trial")
    assert list(run.run.tags) == ["sampling:annealed", "combination:pcgrad"]
    assert run.config["sweep"] == "main-default"
    # A dot in a name is a level to W&B: it would find no `optimizer.lr`.
    assert run.config["sample"] == {
        "optimizer": {"lr": 1e-4},
        "sampling": {"name": "annealed", "annealed": {"start": 1}},
    }
    assert (run.config["run"]["sampling"], run.config["run"]["combination"]) == ("annealed", "pcgrad")
    assert (run.summary["state"], run.exit_code) == ("stopped early", 0)
    assert run.summary["reason"] == "the scheduler ended it after 2 of 9 evaluations"


def test_a_failed_trial_says_why(tmp_path):
    run = track(tmp_path, end=outcome(status="failed", error="worker 0: boom"))
    assert (run.summary["state"], run.summary["reason"], run.exit_code) == ("failed", "worker 0: boom", 1)


def test_a_run_of_a_wandb_agent_takes_its_id_also_in_another_process(tmp_path, monkeypatch):
    agent = {"SWEEP_ID": "sw33p", "RUN_ID": "agent-run", "PROJECT": "theirs", "ENTITY": "me"}
    for name, value in agent.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    tracker = WandbTracker(TRACKING)
    for name in agent:
        monkeypatch.delenv(f"WANDB_{name}")  # the controller's process does not inherit them
    tracker.start(run_info(str(tmp_path)))
    for step, accuracy in ((10, 0.5), (20, 0.9), (30, 0.6)):
        tracker.report(dev_record(step, accuracy))
    tracker.finish(outcome())
    (run,) = read_runs(tmp_path)
    assert run.summary["dev/sst/accuracy"] == 0.9  # a number that W&B can search by
    assert (run.id, run.run.sweep_id, run.run.project, run.run.entity) == ("agent-run", "sw33p", "theirs", "me")
    wandb.teardown()
    assert track(tmp_path).id == "agent-run"  # and keeps it when it goes on without the agent


def test_an_agents_id_is_not_for_trials_of_a_sweep_of_ours(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_RUN_ID", "agent-run")
    assert track(tmp_path, tracking=TrackingConfig(job_type="trial")).id == "main-1"


def test_the_conflicts_between_the_tasks_are_shown_at_the_end(tmp_path):
    run = track(tmp_path, train_record(10), train_record(20) | dev_record(20, 0.6))
    *rows, last = run.history
    assert not any(key.startswith("conflicts/") for row in rows for key in row)
    (media,) = (tmp_path / "wandb").glob("offline-run-*/files")
    table = json.loads((media / last["conflicts/cosines_table/path"]).read_text())
    assert table["columns"] == ["Actual", "Predicted", "nPredictions"]
    assert sorted(table["data"]) == [["sst", "sst", 1], ["sst", "sts", -0.2], ["sts", "sst", -0.2], ["sts", "sts", 1]]
