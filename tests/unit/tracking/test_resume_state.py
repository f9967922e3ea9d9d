import math

from cluster.tracking.resume_state import ResumeState


def test_the_best_score_outlives_the_process(tmp_path):
    file = tmp_path / "main-1.json"
    ledger = ResumeState(file, "main-1")
    assert not ledger.continued
    ledger.take(10, {"dev/mean": 0.5, "train/lr": 1e-4, "step": 10})
    ledger.take(20, {"dev/mean": 0.9, "step": 20})
    ledger.take(30, {"dev/mean": 0.7, "step": 30})
    again = ResumeState(file, "other")
    assert again.continued
    assert (again.wandb_id, again.next_row) == ("main-1", 31)
    assert again.scores == {"dev/mean": {"max": 0.9, "last": 0.7}}
    assert again.steps == {"train": 10, "dev": 30}


def test_a_row_is_known_where_all_of_its_kinds_were_sent_for_its_step():
    state = ResumeState(None, "main-1")
    state.take(10, {"step": 10, "train/lr": 1e-4})
    state.take(20, {"step": 20, "train/lr": 1e-4, "dev/mean": 0.5})
    state.take(30, {"step": 30, "train/lr": 1e-4})
    known = {"step": 20, "train/lr": 1e-4, "dev/mean": 0.6}
    assert state.has(known)
    assert state.has({"step": 30, "combination/conflict_rate": 0.5})
    assert not state.has(known | {"step": 30})
    assert not state.has({"step": 30, "tables": {}})


def test_a_score_that_is_not_a_number_is_never_the_best():
    ledger = ResumeState(None, "main-1")
    ledger.add_score("dev/sts/pearson", math.nan)
    ledger.add_score("dev/sts/pearson", 0.4)
    ledger.add_score("dev/sts/pearson", math.nan)
    assert ledger.scores["dev/sts/pearson"]["max"] == 0.4


def test_a_damaged_file_is_no_past(tmp_path):
    file = tmp_path / "main-1.json"
    for text in ("", "[1]", '{"next_row": 3'):
        file.write_text(text)
        assert (ResumeState(file, "main-1").next_row, ResumeState(file, "main-1").continued) == (0, False)


def test_the_summary_of_the_server_stands_in_for_a_file():
    ledger = ResumeState(None, "main-1")
    ledger.recall({"dev/mean": {"max": 0.9, "last": 0.7}, "train/lr": 1e-4, "dev/odd": 3})
    ledger.add_score("dev/mean", 0.8)
    assert ledger.continued
    assert ledger.scores == {"dev/mean": {"max": 0.9, "last": 0.8}}
