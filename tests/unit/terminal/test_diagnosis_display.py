"""Many tasks are a matrix on the screen, few are lines."""

from itertools import combinations

import pytest

from cluster.terminal.diagnosis_display import show_diagnosis
from multitask.diagnosis import Diagnosis
from multitask.diagnosis.conflicts import Pair


def _found(count: int) -> Diagnosis:
    pairs = [
        Pair(
            first=f"t{i}",
            second=f"t{j}",
            looks=9,
            cosine=(i + j - 4) / 20,
            error=0.01,
            true_cosine=None,
            rate=0.5,
            both=0.2,
            chance=0.2,
            is_real=i + j < 3,
            layers=(0.1,),
            sign=1,
            rows=(8, 8),
            sign_rows=(1234, 99),
        )
        for i, j in combinations(range(count), 2)
    ]
    ordered = tuple(sorted(pairs, key=lambda pair: pair.cosine))
    return Diagnosis("recipe", 60, 20, "runs/r after 40 steps", 9, 1.0, ("layer 1",), ordered, (), (), (), ("sum",))


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")


def test_eight_tasks_are_a_matrix_and_the_five_pairs_most_at_odds(capsys: pytest.CaptureFixture[str]) -> None:
    show_diagnosis(_found(8))
    told = capsys.readouterr().out
    assert "the first after 20, from the weights of runs/r after 40 steps" in told.replace("\n", " ")
    rows = {line.split()[1]: line.split()[2:] for line in told.splitlines() if line.strip()[:1].isdigit()}
    assert rows["t1"] == ["-15*"]
    assert rows["t7"] == ["15", "20", "25", "30", "35", "40", "45"]
    assert told.count("–t") == 5
    assert "23 more pairs" in told


def test_seven_tasks_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    show_diagnosis(_found(7))
    told = capsys.readouterr().out
    assert told.count("–t") == 21
    assert "hundredths" not in told
    assert "1,234/99" in told
