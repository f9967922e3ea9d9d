"""The page of a sweep: what it says of searches made by hand, whole, running, odd and empty."""

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cluster.analysis.confirmation_plan import plan_confirmation
from cluster.analysis.ranking import rank
from cluster.report import write_report
from cluster.storage.storage import Storage
from cluster.sweeps.store import SweepStore
from multitask.errors import UserError
from tests.unit.report.fake_sweep import PARAMETERS, cut, make_trials, write_sweep

RATE = {"optimizer.lr": PARAMETERS["optimizer.lr"]}
EVIL = "<script>alert('x')</script> & <b>$x^{$</b>"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of 16 configurations with baselines, repeats, stopped and failed trials."""
    return write_sweep(tmp_path_factory.mktemp("whole"), make_trials(), repeats=3)


@pytest.fixture(scope="module")
def page(whole: Path) -> str:
    return write_report([str(whole)]).read_text()


def _page(folder: Path, *trials: Any, **settings: Any) -> str:
    return write_report([str(write_sweep(folder, trials, **settings))]).read_text()


def _titles(page: str) -> list[str]:
    return re.findall(r"<h4>(.*?)</h4>", page)


def test_sweep_has_every_figure_and_the_winners_run(page: str, whole: Path) -> None:
    assert (whole / "report.html").is_file()
    titles = _titles(page)
    assert titles[:2] == ["Every trial&#39;s parameters and its mean dev score", "Importance of each parameter"]
    assert titles[2:8] == list(PARAMETERS)
    assert titles[8] == "Sampling and combination together"
    assert sorted(titles[9:12]) == [
        "quora accuracy against sts pearson",
        "sst accuracy against quora accuracy",
        "sst accuracy against sts pearson",
    ]
    assert titles[12:15] == ["Who was stopped, and when", "Compute spent and saved", "Time by how the trials ended"]
    assert "Dev score of each task" in titles[15:]
    assert page.count("<figcaption>") == page.count("<figure") == page.count("<svg ") == len(titles)
    assert "<h2>The winner&#39;s run: fake-005-r1</h2>" in page.replace("\n", "")


def test_winner_stands_beside_recipe_and_tasks_alone(page: str) -> None:
    assert "<h2>The winner: fake-005</h2>" in page
    assert "fake-005 has the highest mean dev score: 0.7570. That is 0.0690 more than the recipe (0.6879)." in page
    assert "The runner-up is fake-003 with 0.7530. Provisional: fake-005 is the best of " in page
    assert re.search(r"<code>concord best \S+/fake --confirm</code> trains the best 3 and the recipe", page)
    row = re.search(r'<th scope="row">sts pearson</th>(.*?)</tr>', page)
    assert row is not None
    assert re.findall(r'<td class="n( best)?">(.*?)</td>', row[1]) == [
        ("", "0.6314"),
        ("", "0.6968"),
        (" best", "0.7322"),
        ("", "0.6949"),
    ]
    assert re.search(r'<td class="key">sampling.annealed.start</td><td class="value">not used</td>', page)


def test_page_is_one_file_whose_links_lead_somewhere(page: str) -> None:
    assert "<script" not in page
    assert not re.search(r"(?:src|href)=\"(?!#|data:)", page)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:url\(#|href="#)([^)"]+)', page)) <= set(ids)
    assert not re.findall(r"#0000[0-9a-f]{2}\b|#00010[1-4]\b|#00020[0-8]\b", page)


def test_facts_count_trials_and_compute(page: str) -> None:
    for told in (
        "20: 8 finished, 10 stopped early, 2 failed; beside them baselines",
        "91,000 training rows, 3,640,000 tokens",
        "1 h 27 min; its trials together 32 min 20 s",
        "3 for each configuration",
        "2: 3 steps in a row had no finite loss",
        "Stopping 10 early saved 72,000 rows, 40% of the whole",
    ):
        assert told in page, told


def test_sweep_is_found_by_its_name_below_the_storage(tmp_path: Path) -> None:
    write_sweep(tmp_path, make_trials(1), name="mine")
    storage, output = str(tmp_path), str(tmp_path / "page.html")
    assert "<title>mine – concord report</title>" in write_report(["mine"], output, storage).read_text()
    with pytest.raises(UserError, match=r"mime is neither a run folder nor an export, and .* did you mean 'mine'"):
        write_report(["mime"], storage=storage)
    run = str(tmp_path / "mine/trials/fake-000")
    with pytest.raises(UserError, match="mine is a sweep: it has a report of its own"):
        write_report(["mine", run], storage=storage)
    assert "All trials" not in write_report([run], output).read_text()


def test_text_is_escaped_everywhere(tmp_path: Path) -> None:
    parameters = PARAMETERS | {"combination.name": PARAMETERS["combination.name"] | {"values": ["sum", EVIL]}}
    parameters |= {EVIL: PARAMETERS["encoder.dropout"]}
    trials = make_trials(8, parameters=parameters)
    trials[1] = replace(
        trials[1], status="failed", reason=f"`{EVIL}`", sample=trials[1].sample | {"combination.name": EVIL}
    )
    page = _page(tmp_path, *trials, parameters=parameters)
    assert "<script" not in page
    assert "<b>" not in page
    assert "&lt;script&gt;alert" in page


def test_running_sweep_says_so_and_shows_what_there_is(tmp_path: Path) -> None:
    trials = make_trials(8, parameters=RATE, repeats=False)
    trials[5:] = [
        cut(trials[5], 2, "running", None),
        cut(trials[6], 0, "waiting", None),
        cut(trials[7], 0, "waiting", None),
    ]
    page = _page(tmp_path, *trials, status="running", parameters=RATE)
    assert "This sweep is still running, or its driver was killed" in page
    assert f"<code>concord sweep resume {tmp_path}/" in page
    assert "1 running, 2 waiting" in page
    assert re.search(r"<td>waiting</td>", page)
    assert "Who was stopped, and when" in _titles(page)


def test_without_a_score_there_are_reasons_and_no_winner(tmp_path: Path) -> None:
    trials = [cut(trial, 0, "failed", "out of memory") for trial in make_trials(3, repeats=False)]
    page = _page(tmp_path, *trials)
    assert "No trial has a score yet" in page
    assert "3: out of memory" in page
    assert "The winner" not in page
    assert _titles(page) == ["Compute spent and saved", "Time by how the trials ended"]


def test_one_trial_is_compared_with_nothing(tmp_path: Path) -> None:
    page = _page(tmp_path, *make_trials(1))
    assert "Only one trial has a score so far" in page
    assert "The recipe itself is the best" in page
    assert _titles(page)[:3] == ["Who was stopped, and when", "Compute spent and saved", "Time by how the trials ended"]


def test_one_task_has_no_fronts(tmp_path: Path) -> None:
    page = _page(tmp_path, *make_trials(6, ("sst",), RATE), tasks=("sst",), parameters=RATE)
    assert not [title for title in _titles(page) if " against " in title]
    assert "optimizer.lr" in _titles(page)


def test_pairs_of_many_tasks_are_folded_away(tmp_path: Path) -> None:
    tasks = ("sst", "quora", "sts", "nli", "cola")
    page = _page(tmp_path, *make_trials(5, tasks, RATE), tasks=tasks, parameters=RATE)
    assert len([title for title in _titles(page) if " against " in title]) == 10
    assert "<summary>4 more</summary>" in page


def test_scores_that_are_no_numbers_are_left_out_of_figures(tmp_path: Path) -> None:
    trials = make_trials(4, parameters=RATE, repeats=False)
    reports = tuple(replace(own, scores=own.scores | {"dev/sst/accuracy": float("nan")}) for own in trials[1].reports)
    trials[1] = replace(trials[1], reports=reports)
    page = _page(tmp_path, *trials, parameters=RATE)
    assert "not a number" in page
    assert not re.search(r"\bnan\b", re.sub(r"<[^>]*>", " ", page))
    nothing = tuple(replace(own, scores=dict.fromkeys(own.scores, float("nan"))) for own in trials[2].reports)
    assert "No trial has a score yet" in _page(tmp_path / "b", replace(trials[2], reports=nothing, number=0))


def test_damaged_run_of_the_winner_is_told(tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path, make_trials(2))
    shutil.rmtree(sweep / "trials")
    for trial in make_trials(2):
        write_sweep(tmp_path, [trial], runs=False)
    page = write_report([str(sweep)]).read_text()
    assert re.search(r"The run fake-00\d cannot be shown", page)


def test_what_a_confirmation_found_and_what_to_try_stand_on_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.analysis.advice.space_check", lambda sweep: lambda sample: True)
    trials = make_trials(8, parameters=RATE, repeats=False)
    folder = write_sweep(tmp_path, trials, parameters=RATE)
    store = SweepStore(Storage(str(folder)))
    plan = plan_confirmation(store, rank(store.read()), 1, 3)
    store.write_confirmations([plan])
    best = plan.finalists[0]
    for one, score in ((plan.recipe, 0.5), (best, 0.6)):
        for repeat, seed in enumerate(plan.seeds):
            report = replace(trials[0].reports[-1], scores={"dev/mean": score + 0.001 * ((repeat + one.number) % 3)})
            made = replace(trials[0], number=one.number, repeat=repeat, role="confirm", reports=(report,))
            store.write_trial(replace(made, run=plan.run("fake", one.number, seed)))
    page = write_report([str(folder)]).read_text()
    name = f"fake-{best.number:03d}"
    assert f"Confirmed: {name} is better than the recipe by 0.1000 in dev/mean" in page
    table = page[page.index("<h3>With fresh seeds</h3>") :]
    row = re.search(rf'<tr><td class="value">{name}</td>(.*?)</tr>', table)
    assert row is not None
    cells = re.findall(r'<td class="value">(.*?)</td>', row[1])
    assert (cells[0], cells[1], cells[3], cells[4]) == ("0.6010", "+0.1000", "not known", "better")
    assert f"configuration {best.number} again, to confirm the winner" in page
    assert "beside them trials that confirm the winner" in page
    assert re.search(r"<code>concord sweep resume \S+/fake --try optimizer.lr=\S+</code>", page)
