"""matplotlib figures as inline SVG that takes its colours from the page."""

import io
import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, which colour-blind readers can tell apart; the page gives each one a light and a dark value.
SERIES = tuple(f"#0000{number:02x}" for number in range(1, 9))
INK, FAINT, PAPER = "#000101", "#000102", "#000103"
_VARIABLES = {colour: f"var(--series-{number})" for number, colour in enumerate(SERIES, start=1)} | {
    INK: "var(--ink)",
    FAINT: "var(--faint)",
    PAPER: "var(--paper)",
}
DASHES = ("-", "--", "-.", ":")
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Figure:
    """`svg`: an `<svg>` element. `title` and `caption` are plain text."""

    title: str
    caption: str
    svg: str


def style(index: int) -> dict[str, Any]:
    """Colour and line style of series number `index`: distinct for 32 of them."""
    return {"color": SERIES[index % len(SERIES)], "linestyle": DASHES[index // len(SERIES) % len(DASHES)]}


def draw(title: str, caption: str, paint: Callable[["Axes"], None], height: float = 2.6) -> Figure:
    """A figure, 4.4 inches wide, that `paint` draws on one pair of axes."""
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas

    settings: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": "concord",
        "font.family": "sans-serif",
        "font.size": 8,
        "axes.edgecolor": FAINT,
        "axes.labelcolor": INK,
        "text.color": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "grid.color": FAINT,
        "grid.linewidth": 0.5,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "lines.linewidth": 1.6,
    }
    with mpl.rc_context(settings):
        canvas = Canvas(figsize=(4.4, height), layout="constrained")
        canvas.patch.set_alpha(0)
        axes = canvas.subplots()
        axes.patch.set_alpha(0)
        paint(axes)
        stream = io.StringIO()
        canvas.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return Figure(title, caption, _inline(stream.getvalue(), title))


def _inline(svg: str, title: str) -> str:
    """The `<svg>` element alone, with ids of its own, the page's colours and fonts, and a title for screen readers."""
    from markupsafe import escape

    number = next(_numbers)
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r'\bid="', f'id="f{number}-', svg)
    svg = re.sub(r"url\(#", f"url(#f{number}-", svg)
    svg = re.sub(r'xlink:href="#', f'href="#f{number}-', svg)
    svg = re.sub(r"#0000[0-9a-f]{2}|#00010[1-3]", lambda found: _VARIABLES.get(found[0], found[0]), svg)
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px; font-family: inherit", svg)
    head = re.compile(r'<svg [^>]*viewBox="([^"]*)"[^>]*>', re.S)
    new = rf'<svg viewBox="\1" role="img" aria-labelledby="f{number}-title"><title id="f{number}-title">{escape(title)}</title>'
    return head.sub(lambda found: found.expand(new.replace("\\", "\\\\").replace("\\\\1", r"\1")), svg, count=1)
