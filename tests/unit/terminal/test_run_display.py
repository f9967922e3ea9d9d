import io
import json
import math

import pytest
from rich.console import Console

from cluster.terminal import run_pace as progress_module
from cluster.terminal.run_display import Display
from tests.unit.training.samples import dev_record, outcome, run_info, train_record


@pytest.fixture
def clock(monkeypatch):
    """Time that stands still unless a test moves it."""
    now = [0.0]
    monkeypatch.setattr(progress_module.Progress.__init__, "__defaults__", (lambda: now[0],))
    return now


def plain() -> tuple[Display, io.StringIO]:
    out = io.StringIO()
    return Display(Console(file=out, width=80)), out


def show(display: Display, clock: list[float]) -> None:
    display.start(run_info())
    for step, accuracy in ((60, 0.3), (120, 0.5)):
        clock[0] += 30
        display.report(train_record(step))
        display.report(dev_record(step, accuracy))
    display.finish(outcome())


def test_plain_lines_say_what_happens(clock):
    display, out = plain()
    show(display, clock)
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    assert lines[:4] == [
        "main  2 workers  cpu  801 steps  runs/main",
        "task  kind            metric    train rows  dev rows",
        "sst   classification  accuracy       8,544     1,101",
        "sts   regression      pearson        6,040       863",
    ]
    # (801 - 120) steps at 60 steps in 30 s = 340 s
    assert "step 120/801  epoch 0.30  sst 1.213  sts 0.930  1,204 tok/s  pad 3.1 %  ETA 05:40" in lines
    second = lines.index("dev scores at step 120  epoch 0.30  best so far")
    assert lines[second + 1 : second + 5] == [
        "task  metric    score  change  others",
        "sst   accuracy  0.500  +0.200  macro_f1 0.400",
        "sts   pearson   0.800  +0.000  spearman 0.790",
        "mean            0.650  +0.100",
    ]


def test_the_end_shows_before_and_after_and_where_everything_is(clock):
    display, out = plain()
    show(display, clock)
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    end = lines.index("main  finished at step 120/801 after 01:00  1,204 tok/s")
    assert lines[end + 1 :] == [
        "task  metric    before  after  change",
        "sst   accuracy   0.200  0.500  +0.300",
        "sts   pearson    0.100  0.800  +0.700",
        "mean             0.150  0.650  +0.500",
        "best        dev/mean 0.6500 at step 400",
        "time        train 05:01  evaluate 01:05",
        "run folder  runs/main",
        "to export   concord export runs/main",
    ]


def test_without_scores_from_before_there_is_nothing_to_compare(clock):
    display, out = plain()
    display.start(run_info())
    display.finish(outcome(baseline_dev={}))
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    assert "task  metric    score" in lines
    assert "sst   accuracy  0.500" in lines


def test_plain_output_is_plain_ascii_and_never_breaks_a_path(clock):
    display, out = plain()
    path = "/long" * 40
    display.start(run_info(folder=path))
    display.report(train_record(10, loss=math.nan) | {"train/skipped_steps": 2})
    display.finish(outcome(files={"run folder": path}))
    assert all(" " <= character <= "~" or character == "\n" for character in out.getvalue())
    assert f"run folder  {path}\n" in out.getvalue()
    assert "sst nan" in out.getvalue()
    assert "skipped 2" in out.getvalue()


def test_a_restart_is_one_line_not_a_new_run(clock):
    display, out = plain()
    display.start(run_info())
    display.report(train_record(120))
    display.start(run_info(resumed_step=100))
    display.report(train_record(110))
    text = out.getvalue()
    assert text.count("train rows") == 1
    assert "the workers were restarted; going on from step 100\nstep 110/801" in text


def test_a_failure_shows_its_error_even_before_the_start(clock):
    display, out = plain()
    display.finish(outcome(status="failed", error="worker 0: RuntimeError: [boom]"))
    assert out.getvalue() == "failed: worker 0: RuntimeError: [boom]\n"
    display, out = plain()
    display.start(run_info())
    display.finish(outcome(status="failed", error="worker 0: RuntimeError: [boom]", best_step=None))
    assert "main  failed at step 0/801" in out.getvalue()
    assert "worker 0: RuntimeError: [boom]\n" in out.getvalue()
    assert "to export" not in out.getvalue()


def test_names_that_look_like_markup_are_shown_as_they_are(clock):
    display, out = plain()
    display.start(run_info(folder="runs/[red]x"))
    display.finish(outcome(files={"run folder": "runs/[red]x"}))
    assert out.getvalue().count("runs/[red]x") == 3


def test_json_lines_parse_and_hold_null_for_numbers_that_are_not_finite():
    out = io.StringIO()
    display = Display(Console(file=out, force_terminal=True), json=True)
    display.start(run_info())
    display.report(
        train_record(10, loss=math.nan) | {"tables": {"confusion/sst": {"labels": ["0"], "matrix": [[math.inf]]}}}
    )
    display.finish(outcome(best_score=-math.inf))

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    events = [json.loads(line, parse_constant=refuse) for line in out.getvalue().splitlines()]
    assert [event["event"] for event in events] == ["start", "report", "finish"]
    assert events[0]["run_id"] == "main-1"
    assert events[0]["tasks"]["sst"]["train_rows"] == 8544
    assert events[1]["step"] == 10
    assert events[1]["train/loss/sst"] is None
    assert events[1]["train/loss/sts"] == 0.93
    assert events[1]["tables"]["confusion/sst"]["matrix"] == [[None]]
    assert events[2]["status"] == "finished"
    assert events[2]["best_score"] is None


@pytest.mark.parametrize("width", [80, 120])
def test_the_live_view_fits_and_shows_every_task(width, clock):
    console = Console(file=io.StringIO(), force_terminal=True, width=width, record=True)
    display = Display(console)
    display.start(run_info(config={"phases": [{}, {}]}))
    for step, accuracy in ((60, 0.3), (120, 0.5)):
        clock[0] += 30
        display.report(train_record(step))
        display.report(dev_record(step, accuracy))
    console.export_text()
    console.print(display._view.render())
    view = [line.rstrip() for line in console.export_text().splitlines()]
    display.close()
    assert max(map(len, view)) <= width
    assert view[0] == "main  2 workers  cpu  801 steps  runs/main"
    assert view[1].endswith("120/801  epoch 0.30  phase 1/2  ETA 05:40")
    assert view[3:6] == [
        "task   loss  share  weight       dev  score  change",
        "sst   1.213   50 %    1.00  accuracy  0.500  +0.200",
        "sts   0.930   50 %    1.00   pearson  0.800  +0.000",
    ]
    assert view[7] == "1,204 tok/s  pad 3.1 %  gradient norm 1.50  conflicts 25 %  lr 3.00e-05"


def test_the_live_view_gives_the_terminal_back(clock):
    out = io.StringIO()
    display = Display(Console(file=out, force_terminal=True, width=80))
    display.start(run_info())
    display.finish(outcome())
    display.close()
    assert out.getvalue().rindex("\x1b[?25h") > out.getvalue().rindex("\x1b[?25l")
    assert "to export" in out.getvalue()
