"""The worker loop in one plain process: steps that are not finite, patience, phases, untouched heads, no Ray imported."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from cluster.step.exchange import GradientExchange
from cluster.step.stages import Holders
from cluster.step.step import MultitaskStep
from cluster.storage.shard_file import load_weights
from cluster.storage.storage import Storage
from cluster.training.session import LocalSession
from cluster.training.worker import train
from multitask.config import RunConfig, parse_config
from multitask.model import build_model
from multitask.model.number_heads import RegressionHead
from tests.integration.commands import environment


class Recorder:
    """An observer that keeps all it is told."""

    def __init__(self) -> None:
        self.started: list[Any] = []
        self.reports: list[dict[str, Any]] = []
        self.outcome: Any = None

    def start(self, run: Any) -> None:
        self.started.append(run)

    def report(self, metrics: dict[str, Any]) -> None:
        self.reports.append(metrics)

    def finish(self, outcome: Any) -> None:
        self.outcome = outcome


def _run(tree: dict[str, Any]) -> tuple[Any, Recorder, RunConfig]:
    config, recorder = parse_config(tree, "test"), Recorder()
    session = LocalSession("cpu", [recorder])
    try:
        return train(config, session, time.time()), recorder, config
    finally:
        session.close()


def _weights(config: RunConfig, step: int) -> dict[str, torch.Tensor]:
    return load_weights(Storage(f"{config.cluster.storage}/{config.name}"), f"checkpoints/step-{step:08d}")


def _poison(monkeypatch: pytest.MonkeyPatch, bad_steps: set[int]) -> None:
    """The loss of sts is NaN in some steps."""
    real, real_loss = MultitaskStep.run, RegressionHead.loss
    now = {"step": -1}

    def run(self: MultitaskStep, work: Any, lr: float, lowest_layer: int) -> Any:
        now["step"] = work.round.step
        return real(self, work, lr, lowest_layer)

    def loss(self: Any, raw: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return real_loss(self, raw, labels) * (float("nan") if now["step"] in bad_steps else 1.0)

    monkeypatch.setattr(MultitaskStep, "run", run)
    monkeypatch.setattr(RegressionHead, "loss", loss)


@pytest.mark.parametrize("method", ["pcgrad", "sum"])
def test_step_that_is_not_finite_is_skipped_and_counted(
    tiny_tasks: dict[str, Any], monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    _poison(monkeypatch, {3, 5})
    outcome, recorder, config = _run(tiny_tasks | {"combination": {"name": method}, "training": {"log_every": 1}})
    assert outcome.status == "finished"
    assert recorder.reports[-2]["train/skipped_steps"] == 2
    assert all(torch.isfinite(w).all() for w in _weights(config, 10).values())


def test_too_many_such_steps_stop_the_run_and_name_the_task(
    tiny_tasks: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    _poison(monkeypatch, set(range(2, 99)))
    outcome, recorder, _ = _run(tiny_tasks | {"training": {"non_finite_limit": 3}})
    assert outcome.status == "failed"
    assert "4 steps" in outcome.error
    assert "(in all: sts 4)" in outcome.error
    assert recorder.outcome == outcome


def test_patience_stops_a_run_that_gets_no_better(tiny_tasks: dict[str, Any]) -> None:
    tree = tiny_tasks | {
        "phases": [{"epochs": 30}],
        "optimizer": {"name": "adamw", "lr": 1e-12},
        "training": {"patience": 2},
    }
    outcome, recorder, _ = _run(tree)
    assert outcome.status == "stopped"
    assert outcome.best_step == 10
    assert [r["step"] for r in recorder.reports if "dev/mean" in r] == [10, 20, 30]


def test_run_that_stops_after_a_step_goes_on_as_if_it_had_not(tiny_tasks: dict[str, Any]) -> None:
    whole = _run(tiny_tasks | {"name": "whole"})[2]
    stopped, _, config = _run(tiny_tasks | {"name": "parts", "training": {"stop_after": 7}})
    assert stopped.status == "stopped"
    # It is saved where it stops, though nothing is evaluated there.
    assert _weights(config, 7).keys() == _weights(whole, 10).keys()
    finished, _, config = _run(tiny_tasks | {"name": "parts"})
    assert finished.status == "finished"
    assert all(torch.equal(own, _weights(whole, 10)[name]) for name, own in _weights(config, 10).items())


def test_heads_of_tasks_that_do_not_train_stay_to_the_bit(tiny_tasks: dict[str, Any]) -> None:
    tree = tiny_tasks | {
        "phases": [
            {"tasks": ["sst", "quora"], "epochs": 1},
            {"tasks": ["quora"], "sampling": {"name": "sequential"}, "epochs": 1},
        ]
    }
    _, recorder, config = _run(tree)
    fresh = {n: p.detach().reshape(-1) for n, p in build_model(config).named_parameters()}
    first, last = _weights(config, 10), _weights(config, 20)
    for name in fresh:
        if name.startswith("heads.sts."):
            assert torch.equal(last[name], fresh[name])
        elif name.startswith("heads.sst."):
            assert not torch.equal(first[name], fresh[name])
            assert torch.equal(last[name], first[name])
        elif name.startswith("heads.quora."):
            assert not torch.equal(last[name], first[name])
    assert {r["phase"] for r in recorder.reports if "train/lr" in r} == {0, 1}


def test_losses_and_scores_are_reported_under_the_projects_names(tiny_tasks: dict[str, Any]) -> None:
    outcome, recorder, _ = _run(tiny_tasks | {"training": {"log_every": 5, "evaluate_before": True}})
    train_record = next(r for r in recorder.reports if "train/lr" in r)
    for name in (
        "train/loss/sst",
        "train/share/sts",
        "combination/weight/quora",
        "combination/cosine/sst-quora",
        "combination/conflict_rate",
        "throughput/tokens_per_s",
        "throughput/padding",
        "throughput/peak_memory_gib",
        "train/grad_norm",
    ):
        assert isinstance(train_record[name], float), name
    saved = [r["throughput/checkpoint_s"] for r in recorder.reports if "dev/best" in r]
    assert saved
    assert all(seconds > 0 for seconds in saved)
    assert outcome.baseline_dev["dev/mean"] != outcome.dev["dev/mean"]
    tables = recorder.reports[-1]["tables"]
    assert sum(map(sum, tables["confusion/sst"]["matrix"])) == 20
    assert {"confusion/quora", "worst/sst", "worst/quora", "worst/sts"} <= set(tables)
    assert recorder.started[0].data_hashes.keys() >= {"sst/train", "sts/dev"}


def test_run_says_which_rows_it_leaves_out(tiny_tasks: dict[str, Any]) -> None:
    file = Path(tiny_tasks["data"]["root"]) / "sst-train.csv"
    header, *rows = file.read_text().splitlines()
    texts = [row.split("\t")[2:] for row in rows] * (1 + 100 // len(rows))
    many = ["\t".join([str(number), f"r{number}", *text]) for number, text in enumerate(texts)]
    file.write_text("\n".join([header, *many, "999\tbad\t\t0"]) + "\n")
    outcome, recorder, _ = _run(tiny_tasks | {"data": tiny_tasks["data"] | {"on_bad_rows": "skip"}})
    told = f"tasks.sst.files.train: 1 of {len(many) + 1:,} rows are bad and left out"
    for notes in (recorder.started[0].notes, outcome.notes):
        assert [note for note in notes if note.startswith(told)]


def test_methods_without_gradients_keep_one_row(tiny_tasks: dict[str, Any]) -> None:
    """With a sum, or one task in the round, no gradient per task is kept or sent."""
    sizes = {}
    for name, change in {
        "pcgrad": {},
        "sum": {"combination": {"name": "sum"}},
        "alone": {"phases": [{"tasks": ["sst"]}]},
    }.items():
        kept: list[int] = []
        real = GradientExchange.begin

        def begin(
            self: GradientExchange, holders: Holders, groups: int, kept: list[int] = kept, real: Any = real
        ) -> None:
            kept.append(groups)
            real(self, holders, groups)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(GradientExchange, "begin", begin)
            _run(tiny_tasks | {"name": name} | change)
        sizes[name] = max(kept)
    assert sizes == {"pcgrad": 3, "sum": 1, "alone": 1}


def test_plain_process_imports_no_ray(tiny_tasks: dict[str, Any], tmp_path: Path) -> None:
    from tests.integration.commands import write_recipe

    recipe = write_recipe(tmp_path / "recipe.yaml", tiny_tasks)
    code = (
        "import sys; sys.argv=['concord','train',sys.argv[1],'--no-ray']\n"
        "from cluster.cli import app\n"
        "try: app.main()\n"
        "except SystemExit as e: assert not e.code, e.code\n"
        "assert 'deepspeed' in sys.modules and 'ray' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(recipe)], capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr
