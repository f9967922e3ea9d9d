"""The report of a real run in a headless Chromium."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from cluster.report import write_report
from cluster.training.session import LocalSession
from cluster.training.worker import train
from multitask.config import parse_config
from tests.builders import tiny_config, write_tiny_tasks
from tests.unit.report.fake_sweep import PARAMETERS, make_trials, write_sweep

# The last ones keep Chromium from looking for its maker's hosts.
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync"
).split()
EVIL = "<script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">"

LONG = "long " * 2000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("there is no chromium; Debian's package chromium has it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> dict[str, Path]:
    """Reports of a run with gradient surgery and regularization, of its export, of two runs, and of two sweeps."""
    folder = tmp_path_factory.mktemp("report")
    write_tiny_tasks(folder, rows=30)
    for file in ("sst-dev.csv", "quora-dev.csv"):
        header, *lines = (folder / file).read_text().splitlines()
        rows = [line.split("\t") for line in lines]
        for row in rows:
            row[2] = '"' + LONG + EVIL.replace('"', '""') + '"'
        (folder / file).write_text("\n".join([header, *("\t".join(row) for row in rows)]) + "\n")
    session = LocalSession("cpu")
    places = [_train(folder, tiny_bert, session, name, seed) for name, seed in (("first", 1), ("second", 2))]
    session.close()
    return {
        "run": write_report([places[0]], str(folder / "run.html")),
        "export": write_report([f"{places[0]}/export"], str(folder / "export.html")),
        "both": write_report(places, str(folder / "both.html")),
        "sweep": write_report([str(_sweep(folder))], str(folder / "sweep.html")),
        "large": write_report([str(_large_sweep(folder))], str(folder / "large.html")),
    }


def _sweep(folder: Path) -> Path:
    """16 configurations, some stopped, two failed, with repeats and baselines; its texts try to run scripts."""
    trials = [replace(t, reason=EVIL if t.status == "failed" else t.reason) for t in make_trials()]
    return write_sweep(folder, trials, name="sweep")


def _large_sweep(folder: Path) -> Path:
    """Eight tasks, twelve parameters, and names that are long."""
    tasks = ("sst", "quora", "sts", "nli", "cola", "paws", "emotion", "a_task_with_quite_a_long_name")
    number = PARAMETERS["encoder.dropout"]
    parameters = PARAMETERS | {f"sampling.draw_weights.{task}": number for task in tasks[2:]}
    trials = make_trials(24, tasks, parameters)
    return write_sweep(folder, trials, tasks, parameters, name="large")


def _train(folder: Path, bert: Path, session: LocalSession, name: str, seed: int) -> str:
    tree: dict[str, Any] = tiny_config(
        folder,
        encoder={"name": str(bert)},
        training={"log_every": 1, "evaluate_before": True, "layer_conflicts_every": 2},
    )
    tree |= {"name": name, "seed": seed, "regularization": {"smart": {"weight": 1.0}}}
    tree["phases"] = [{"sampling": {"name": "round_robin"}, "epochs": 2}]
    train(parse_config(tree, "test"), session)
    return str(folder / "runs" / name)


# Font size of each text in pixels of the screen.
_HEIGHTS = "texts => texts.map(t => parseFloat(getComputedStyle(t).fontSize) * t.ownerSVGElement.getScreenCTM().a)"
# Pairs of texts of one figure that lie on each other.
_OVERLAPS = """figures => figures.flatMap(figure => {
    const texts = [...figure.querySelectorAll('svg text')].filter(text => text.textContent.trim())
    const boxes = texts.map(text => [text.textContent, text.getBoundingClientRect()])
    const meet = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
        && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 0.3 * Math.min(a.height, b.height)
    return boxes.flatMap(([one, a], i) => boxes.slice(i + 1).filter(([, b]) => meet(a, b)).map(([other]) => [one, other]))
})"""
# The colours of the strongest cell of the first confusion matrix, of its count and of what lies behind.
_CELL = """() => {
    const figure = [...document.querySelectorAll('figure')].find(f => f.innerText.includes('predicted against true'))
    const cells = [...figure.querySelectorAll('path')].map(p => getComputedStyle(p)).filter(s => s.opacity < 1)
    const cell = cells.reduce((a, b) => Number(b.opacity) > Number(a.opacity) ? b : a)
    const behind = getComputedStyle(figure).backgroundColor
    return [cell.fill, Number(cell.opacity), getComputedStyle(figure.querySelector('text')).fill, behind]
}"""


def _open(browser: Browser, page: Path, **settings: Any) -> tuple[Page, list[str]]:
    """The page in a browser, and everything that went wrong or went out."""
    opened = browser.new_page(**settings)
    troubles: list[str] = []
    opened.on("console", lambda message: troubles.append(f"console: {message.text}"))
    opened.on("pageerror", lambda error: troubles.append(f"error: {error}"))
    opened.on("request", lambda request: troubles.append(f"request: {request.url}"))
    opened.goto(page.as_uri())
    return opened, [t for t in troubles if t != f"request: {page.as_uri()}"]


@pytest.mark.parametrize(("name", "figures"), [("run", 15), ("export", 5), ("both", 34), ("sweep", 19)])
def test_page_is_whole_and_asks_for_nothing(browser: Browser, pages: dict[str, Path], name: str, figures: int) -> None:
    page, troubles = _open(browser, pages[name])
    assert not troubles
    shown = page.locator("figure svg")
    assert shown.count() == figures == page.locator("figcaption").count()
    for number in range(figures):
        box = shown.nth(number).bounding_box()
        assert box is not None
        assert box["width"] > 200
        assert box["height"] > 80
        assert page.get_by_role("img").nth(number).get_attribute("aria-labelledby")
    assert page.title() != "taken"
    assert page.locator("img, script").count() == 0
    aims = page.eval_on_selector_all("nav a", "links => links.map(link => link.getAttribute('href'))")
    assert len(aims) >= 3
    assert all(page.locator(aim).count() == 1 for aim in aims)


@pytest.mark.parametrize("name", ["run", "sweep"])
def test_texts_are_shown_as_they_are(browser: Browser, pages: dict[str, Path], name: str) -> None:
    page, _ = _open(browser, pages[name])
    assert EVIL in page.locator("body").inner_text()
    assert page.title() != "taken"


def test_phone_scrolls_down_only(browser: Browser, pages: dict[str, Path]) -> None:
    for name in pages:
        page, _ = _open(browser, pages[name], viewport={"width": 380, "height": 800})
        page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
        assert page.evaluate("document.documentElement.scrollWidth") <= 380
        letters = page.eval_on_selector_all("figure svg text", _HEIGHTS)
        assert min(letters) > 8


@pytest.mark.parametrize("width", [380, 1280])
@pytest.mark.parametrize("name", ["sweep", "large"])
def test_no_label_lies_on_another(browser: Browser, pages: dict[str, Path], name: str, width: int) -> None:
    page, _ = _open(browser, pages[name], viewport={"width": width, "height": 800})
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    assert page.eval_on_selector_all("figure", _OVERLAPS) == []


def test_wide_figures_scroll_by_themselves(browser: Browser, pages: dict[str, Path]) -> None:
    page, _ = _open(browser, pages["large"], viewport={"width": 380, "height": 800})
    wide = page.locator("figure.wide .scroll").first
    assert wide.evaluate("box => box.scrollWidth > 2 * box.clientWidth")


def test_dark_and_light_differ_in_page_and_figures(browser: Browser, pages: dict[str, Path]) -> None:
    seen = set()
    for scheme in ("light", "dark"):
        page, _ = _open(browser, pages["run"], color_scheme=scheme)
        script = "getComputedStyle(document.body).backgroundColor"
        text = "getComputedStyle(document.querySelector('figure svg text')).fill"
        seen.add((page.evaluate(script), page.evaluate(text)))
    (light_page, light_text), (dark_page, dark_text) = sorted(seen)
    assert light_page != dark_page
    assert light_text != dark_text


def _luminance(colour: list[float]) -> float:
    """Relative luminance of an sRGB colour, WCAG 2.1."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (value / 255 for value in colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_counts_stand_out_from_their_cells(browser: Browser, pages: dict[str, Path], scheme: Any) -> None:
    page, _ = _open(browser, pages["run"], color_scheme=scheme)
    fill, opacity, text, behind = page.evaluate(_CELL)
    cell, ink, panel = ([float(n) for n in re.findall(r"[\d.]+", colour)] for colour in (fill, text, behind))
    shown = [opacity * c + (1 - opacity) * p for c, p in zip(cell, panel, strict=True)]
    low, high = sorted((_luminance(shown), _luminance(ink)))
    assert (high + 0.05) / (low + 0.05) >= 4.5


def test_long_text_does_not_stretch_the_page(browser: Browser, pages: dict[str, Path]) -> None:
    page, _ = _open(browser, pages["run"])
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    assert max(page.eval_on_selector_all("td.text", "cells => cells.map(c => c.clientHeight)")) < 250


def test_export_without_its_dev_rows_says_so(browser: Browser, pages: dict[str, Path]) -> None:
    folder = pages["run"].parent
    (folder / "sst-dev.csv").rename(folder / "gone.csv")
    try:
        path = write_report([str(folder / "runs/first/export")], str(folder / "poor.html"))
    finally:
        (folder / "gone.csv").rename(folder / "sst-dev.csv")
    page, troubles = _open(browser, path)
    assert not troubles
    assert "No errors of sst are shown, since its dev rows cannot be read" in page.locator(".note").nth(1).inner_text()
    assert page.get_by_role("heading", name="quora: what it gets wrong").count() == 1
    assert page.get_by_role("heading", name="sst: what it gets wrong").count() == 0
