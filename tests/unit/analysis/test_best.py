"""`concord best` on sweeps written by hand, and on real tiny runs that are exported and trained again."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

import multitask
from cluster.analysis.configurations import scored_trial
from cluster.analysis.confirmation_plan import plan_confirmation
from cluster.analysis.ranking import rank
from cluster.analysis.refit import plan_refits, run_refit
from cluster.analysis.verdict import judge_winner
from cluster.analysis.winner_checkpoints import checkpoint_run
from cluster.cli.best import best
from cluster.storage.dev_predictions import read_dev_predictions
from cluster.storage.storage import Storage
from cluster.sweeps.records import Options, Report, Sweep, Trial
from cluster.sweeps.store import SweepStore
from cluster.training.observer import ObserverGroup, Outcome
from cluster.training.session import LocalSession
from cluster.training.worker import train
from multitask.config import parse_config
from multitask.errors import UserError
from tests.unit.analysis.sweeps import baseline, scores, sweep, trial, write

app = typer.Typer()
app.command()(best)


def _best(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "80"}).invoke(app, [*arguments])


@pytest.fixture
def storage(tmp_path: Path) -> str:
    """A folder with a sweep of three configurations, the first with two seeds."""
    made = [
        trial(0, scores(0.5, 0.6, 0.4), sample={"lr": 1e-5, "mix": "plain"}),
        trial(1, scores(0.6, 0.7, 0.5), sample={"lr": 1e-4, "mix": "drawn", "mix.power": 0.25}),
        trial(1, scores(0.62, 0.7, 0.5), sample={"lr": 1e-4, "mix": "drawn", "mix.power": 0.25}, repeat=1),
        trial(2, scores(0.55, 0.6, 0.5), sample={"lr": 1e-3, "mix": "plain"}, status="stopped"),
        trial(3, status="failed", reason="CUDA out of memory. Tried to allocate 2.00 GiB"),
        trial(4, status="failed", reason="CUDA out of memory. Tried to allocate 512 MiB".replace("MiB", "GiB")),
        baseline("sst", 0.58),
    ]
    write(sweep(made), str(tmp_path))
    return str(tmp_path)


def test_tables_fit_into_80_columns_and_tell_winner_recipe_and_runner_up(storage: str) -> None:
    result = _best("s", "--storage", storage)
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("Winner so far: s-001") for line in lines)
    assert "Runner-up: s-002, stopped early, best after step 10" in lines
    row = next(line for line in lines if line.split()[:2] == ["sst", "accuracy"])
    assert row.split()[2:] == ["0.6100", "±", "0.0141", "0.5000", "+0.1100", "0.5800"]
    assert any("lr" in line and "1e-4" in line and "1e-5" in line for line in lines)
    assert "- 2 trials: CUDA out of memory. Tried to allocate 2.00 GiB (s-003, s-004)" in result.output
    assert "Too few configurations with a score" in result.output
    assert "Provisional: s-001 is the best of 3 on the dev rows and seeds" in " ".join(result.output.split())


def test_json_holds_everything(storage: str) -> None:
    found = json.loads(_best("s", "--storage", storage, "--by", "course", "--json").output)
    assert found["winner"]["runs"] == ["s-001", "s-001-r1"]
    assert found["winner"]["score"]["seeds"] == 2
    assert found["recipe"]["scores"]["dev/sst/accuracy"]["mean"] == 0.5
    assert [own["number"] for own in found["ranking"]] == [1, 2, 0]
    assert found["verdict"]["status"] == "provisional"
    assert found["verdict"]["command"] == f"concord best {storage}/s --by course --confirm"
    assert found["baselines"] == {"sst": 0.58}
    assert found["failures"][0]["runs"] == ["s-003", "s-004"]
    assert {"importance", "next", "refits", "notes", "runner_up"} <= set(found)


def test_a_search_for_several_metrics_shows_its_pareto_front(tmp_path: Path) -> None:
    made = [
        trial(0, scores(0.5, 0.6, 0.9)),
        trial(1, scores(0.6, 0.1, 0.8)),
        trial(2, scores(0.55, 0.9, 0.7)),
        trial(3, scores(0.7, 0.2, 0.3)),
    ]
    write(sweep(made, metrics=("dev/sst/accuracy", "dev/sts/pearson")), str(tmp_path))
    shown = _best("s", "--storage", str(tmp_path)).output
    front = shown[shown.index("Pareto front") : shown.index("Runner-up")]
    assert [line.split()[0] for line in front.splitlines()[2:] if line.strip()] == ["s-003", "s-001", "s-000"]
    found = json.loads(_best("s", "--storage", str(tmp_path), "--json").output)
    assert sorted(found["front"]) == ["s-000", "s-001", "s-003"]


def test_weights_and_baselines_come_from_the_command_line(storage: str) -> None:
    weighted = json.loads(_best("s", "--storage", storage, "--by", "weighted", "--weight", "sst=3", "--json").output)
    assert weighted["winner"]["score"]["value"] == pytest.approx((3 * 0.61 + 0.7 + 0.5) / 5)
    options = ["--by", "worst", "--baseline", "quora=.6", "--baseline", "sts=.6", "--json"]
    assert json.loads(_best("s", "--storage", storage, *options).output)["winner"]["score"]["value"] == pytest.approx(
        -0.1
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "there is no sweep 'nothing'"),
        (["s", "--by", "dev/meen"], "did you mean 'dev/mean'"),
        (["s", "--by", "worst"], "--baseline quora=SCORE --baseline sts=SCORE"),
        (["s", "--by", "weighted", "--weight", "sst"], "--weight is TASK=NUMBER, got 'sst'"),
        (["s", "--by", "worst", "--baseline", "sst=nan"], "--baseline is TASK=NUMBER"),
        (["s", "--seeds", "2"], "--seeds is for --refit and --confirm"),
        (["s", "--top", "2"], "--top is for --confirm"),
        (["s", "--confirm", "--no-ray"], "--no-ray is for --refit"),
        (["s", "--confirm", "--refit"], "--confirm and --refit: give one of them"),
        (["s", "--confirm", "--seeds", "1"], "--seeds must be at least 2"),
        (["s", "--confirm"], "the space default is not what it was"),
        (["s", "optimizer.lr=1"], "KEY=VALUE is for --refit"),
        (["s", "--refit", "--export", "x"], "give one of them"),
        (["s", "--refit"], "holds no config.yaml"),
    ],
)
def test_what_the_user_can_mend_is_one_line(storage: str, arguments: list[str], message: str) -> None:
    error = _best(*arguments, "--storage", storage).exception
    assert isinstance(error, UserError)
    assert message in str(error)
    assert "\n" not in str(error)


def test_nothing_succeeded_tells_the_reasons_and_ends_with_1(tmp_path: Path) -> None:
    reason = "CUDA out of memory"
    made = [trial(number, status="failed", reason=reason) for number in range(3)]
    write(sweep([*made, trial(3, status="failed", reason="the loss is not finite")]), str(tmp_path))
    result = _best("s", "--storage", str(tmp_path))
    assert result.exit_code == 1
    assert "- 3 trials: CUDA out of memory" in result.output
    assert "- 1 trial: the loss is not finite" in result.output
    found = _best("s", "--storage", str(tmp_path), "--json")
    assert found.exit_code == 1
    assert [len(own["runs"]) for own in json.loads(found.output)["failures"]] == [3, 1]


def test_sweep_with_no_trial_yet_says_so(tmp_path: Path) -> None:
    write(sweep([]), str(tmp_path))
    assert "no trial has been evaluated yet" in str(_best("s", "--storage", str(tmp_path)).exception)


class Quiet:
    """An observer that keeps the last outcome."""

    def start(self, run: Any) -> None:
        """Nothing."""

    def report(self, metrics: dict[str, Any]) -> None:
        """Nothing."""

    def finish(self, outcome: Outcome) -> None:
        """Nothing."""


def _train(config: Any, observer: Any = None) -> Outcome:
    session = LocalSession("cpu", [ObserverGroup([observer or Quiet()])])
    try:
        return train(config, session, time.time())
    finally:
        session.close()


def _reports(history: list[dict[str, Any]]) -> tuple[Report, ...]:
    """What a run's evaluations are in its trial's record."""
    return tuple(
        Report(n, own["step"], own["rows"], own["tokens"], 1.0, {k: v for k, v in own.items() if k.startswith("dev/")})
        for n, own in enumerate(history, start=1)
    )


@pytest.fixture
def real(tiny_tasks: dict[str, Any], tmp_path: Path) -> SweepStore:
    """A sweep of two real tiny runs; number 1 has the higher learning rate."""
    trials, place = [], str(tmp_path / "sweeps" / "real")
    base = parse_config(tiny_tasks | {"training": {"evaluate_every": 5}}, "test")
    for number, rate in enumerate((1e-5, 3e-3)):
        tree = base.to_dict() | {"name": f"real-{number:03d}"}
        tree["optimizer"]["lr"] = rate
        tree["cluster"] |= {"storage": f"{place}/trials", "export": False}
        config = parse_config(tree, "test")
        _train(config)
        history = (SweepStore(Storage(place)).run(config.name).result() or {})["history"]
        role = "sample" if number else "recipe"
        trials.append(Trial(number, 0, role, config.name, {"lr": rate}, "finished", reports=_reports(history)))  # type: ignore[arg-type]
    space = {"name": "default", "about": "", "identity": "0", "parameters": {}}
    made = Sweep("real", place, "tiny", base.to_dict(), space, Options(trials=2), tuple(trials), "finished")
    return write(made, str(tmp_path / "sweeps"), "real")


def test_winner_is_exported_and_predicts_with_the_scores_of_its_best_checkpoint(
    real: SweepStore, tmp_path: Path
) -> None:
    sweep_ = real.read()
    winner = rank(sweep_).winner.configuration
    result = _best("real", "--storage", str(tmp_path / "sweeps"), "--export", str(tmp_path / "model"))
    assert result.exit_code == 0, result.exception
    assert winner.name in result.output
    model = multitask.load(str(tmp_path / "model"))
    assert model.scores["dev/mean"] == pytest.approx(winner.scores["dev/mean"])
    description = json.loads((tmp_path / "model" / "concord.json").read_text())
    assert description["step"] == winner.scored_trials[0].best.step
    assert len(model.predict("sst", ["a good film", "a dull film"])) == 2


def test_checkpoint_that_was_not_kept_names_those_that_come_next(real: SweepStore, tmp_path: Path) -> None:
    first, second = (own.configuration.scored_trials[0].run for own in rank(real.read()).ranked)
    real.run(first).storage.delete_folder("checkpoints")
    error = _best("real", "--storage", str(tmp_path / "sweeps"), "--export", str(tmp_path / "model")).exception
    assert isinstance(error, UserError)
    assert f"the checkpoint of {first} was not kept" in str(error)
    assert f"come next by dev/mean: {second} (" in str(error)
    assert "--refit" in str(error)
    real.run(second).storage.delete_folder("checkpoints")
    last = _best("real", "--storage", str(tmp_path / "sweeps"), "--export", str(tmp_path / "model")).exception
    assert "no other one is kept either" in str(last)


def test_checkpoint_of_another_generation_is_not_taken_for_the_best_one(real: SweepStore) -> None:
    one = real.read().trials[1]
    attempt = scored_trial(one, "dev/mean")
    assert attempt is not None
    assert checkpoint_run(real, attempt) is not None
    assert checkpoint_run(real, replace(attempt, run=f"{one.run}-g1")) is None


def test_refit_trains_other_seeds_and_goes_on_after_a_kill(real: SweepStore, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    class Killer(Quiet):
        def report(self, metrics: dict[str, Any]) -> None:
            if metrics.get("train/evaluations") == 2:
                raise Killed

    ranking = rank(real.read())
    plans = plan_refits(real, ranking, 2, 1.0)
    assert [plan.config.seed for plan in plans] == [2, 3]
    with pytest.raises(KeyboardInterrupt):
        run_refit(real, plans[0], Quiet(), lambda config, observer: Outcome("interrupted"))
    run_refit(real, plans[0], Quiet(), _train)
    with pytest.raises(Killed):
        run_refit(real, plans[1], Killer(), _train)
    half = next(own for own in real.read().trials if own.run == "real-refit-1")
    assert (half.role, half.status) == ("refit", "running")
    begun = json.loads(real.run("real-refit-0").storage.read("result.json"))

    result = _best("real", "--storage", str(tmp_path / "sweeps"), "--refit", "--seeds", "2", "--no-ray", "--json")
    assert result.exit_code == 0, result.exception
    refits = [own for own in real.read().trials if own.role == "refit"]
    assert [(own.run, own.status, own.attempts) for own in refits] == [
        ("real-refit-0", "finished", 1),
        ("real-refit-1", "finished", 2),
    ]
    # The finished one was not trained again, the other went on from its checkpoint and lost no evaluation.
    assert json.loads(real.run("real-refit-0").storage.read("result.json")) == begun
    resumed = real.run("real-refit-1").result() or {}
    assert resumed["resumed_step"] == 10
    assert [own.step for own in refits[1].reports] == [own["step"] for own in resumed["history"]]
    told = json.loads(result.output.splitlines()[-1])["refit"]
    assert told["score"]["seeds"] == 2
    best_ones = [own.best("dev/mean").scores["dev/mean"] for own in refits]  # type: ignore[union-attr]
    assert told["score"]["value"] == pytest.approx(sum(best_ones) / 2)
    # They are shown beside the winner, and are no candidates themselves.
    assert rank(real.read()).winner.configuration.number == ranking.winner.configuration.number
    shown = _best("real", "--storage", str(tmp_path / "sweeps")).output
    assert "over 2 seeds" in " ".join(shown.split())


def test_a_confirmation_compares_trained_runs_over_seeds_and_over_their_dev_rows(real: SweepStore) -> None:
    plan = plan_confirmation(real, rank(real.read()), 1, 2)
    assert (plan.seeds, [one.number for one in plan.everything]) == ((2, 3), [0, 1])
    real.write_confirmations([plan])
    for one in plan.everything:
        for repeat, seed in enumerate(plan.seeds):
            run = plan.run("real", one.number, seed)
            config = real.run(f"real-{one.number:03d}").config()
            _train(config.model_copy(update={"name": run, "seed": seed}))
            history = (real.run(run).result() or {})["history"]
            real.write_trial(
                Trial(one.number, repeat, "confirm", run, one.sample, "finished", reports=_reports(history))
            )
    for own in (own for own in real.read().trials if own.role == "confirm"):
        best = own.best("dev/mean")
        assert best is not None
        found = read_dev_predictions(real.run(own.run), best.step)
        assert found is not None
        accuracy = float(np.mean(found["sst"].labels == found["sst"].predictions))
        assert accuracy == pytest.approx(best.scores["dev/sst/accuracy"])
        assert read_dev_predictions(real.run(own.run), best.step + 1) is None
    confirmed = judge_winner(rank(real.read())).confirmed
    assert confirmed is not None
    (difference,) = confirmed.differences
    assert confirmed.rows is None
    assert difference.rows_low is not None
    assert difference.rows_low < difference.mean
    assert difference.low < difference.mean < difference.high


def test_longer_refit_is_one_of_its_own(real: SweepStore) -> None:
    ranking = rank(real.read())
    plain, longer = plan_refits(real, ranking, 1, 1.0)[0], plan_refits(real, ranking, 1, 2.0)[0]
    assert [phase.epochs for phase in longer.config.phases] == [2]
    real.write_trial(plain.trial)
    real.run(plain.trial.run).start(plain.config)
    ranking = rank(real.read())
    again, other = plan_refits(real, ranking, 2, 1.0), plan_refits(real, ranking, 1, 2.0)[0]
    assert [plan.trial.run for plan in again] == ["real-refit-0", "real-refit-1"]
    assert again[0].trial.number == again[1].trial.number == 2
    assert (other.trial.run, other.trial.number) == ("real-refit-1", 3)
    for factor in (0.5, 1.5, 0.0):
        with pytest.raises(UserError, match="--epochs-factor"):
            plan_refits(real, ranking, 1, factor)
    with pytest.raises(UserError, match="--seeds must be at least 1"):
        plan_refits(real, ranking, 0, 1.0)


def test_refit_takes_no_seed_that_the_winner_had(real: SweepStore) -> None:
    winner = next(own for own in real.read().trials if own.number == 1)
    repeated = Trial(**{**vars(winner), "repeat": 1, "run": "real-001-r1"})
    config = real.run(winner.run).config()
    real.write_trial(repeated)
    real.run(repeated.run).start(config.model_copy(update={"name": repeated.run, "seed": config.seed + 1}))
    plans = plan_refits(real, rank(real.read(), "dev/mean"), 2, 1.0)
    ranked = rank(real.read()).winner.configuration
    expected = [config.seed + 2, config.seed + 3] if ranked.number == 1 else [config.seed + 1, config.seed + 2]
    assert [plan.config.seed for plan in plans] == expected
