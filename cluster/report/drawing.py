"""matplotlib figures as inline SVG that takes its colours from the page."""

import io
import itertools
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

# Okabe and Ito's colours, which colour-blind readers can tell apart; the page gives each one a light and a dark value.
SERIES = tuple(f"#0000{number:02x}" for number in range(1, 7))
INK, FAINT, CELL, PANEL = "#000101", "#000102", "#000103", "#000104"
# From the worst to the best: hue and lightness change together, so that it can be read without colours, too.
RAMP = tuple(f"#0002{number:02x}" for number in range(9))
_VARIABLES = (
    {colour: f"var(--series-{number})" for number, colour in enumerate(SERIES, start=1)}
    | {colour: f"var(--ramp-{number})" for number, colour in enumerate(RAMP)}
    | {INK: "var(--ink)", FAINT: "var(--faint)", CELL: "var(--cell)", PANEL: "var(--panel)"}
)
DASHES = ("-", "--", "-.", ":")
WIDTH = 3.9
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Figure:
    """`svg`: an `<svg>` element, drawn `width` inches wide. `title` and `caption` are plain text."""

    title: str
    caption: str
    svg: str
    width: float = WIDTH

    @property
    def is_wide(self) -> bool:
        """Whether it would be too small to read on a phone, which scrolls it sideways instead."""
        return self.width > WIDTH


def style(index: int) -> dict[str, Any]:
    """Colour and line style of series number `index`: distinct for 24 of them."""
    return {"color": SERIES[index % len(SERIES)], "linestyle": DASHES[index // len(SERIES) % len(DASHES)]}


def draw(
    title: str, caption: str, paint: Callable[["Axes"], None], height: float = 2.4, width: float = WIDTH
) -> Figure:
    """A figure that `paint` draws on one pair of axes."""
    return draw_panels(title, caption, lambda canvas: paint(canvas.subplots()), height, width)


def draw_panels(
    title: str, caption: str, paint: Callable[["Canvas"], None], height: float, width: float = WIDTH
) -> Figure:
    """A figure that `paint` divides into axes as it needs. With the usual width its letters are about 9 pixels on a phone."""
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas

    settings: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": "concord",
        "font.family": "sans-serif",
        "font.size": 9,
        # Names of classes and tasks are no formulas.
        "text.parse_math": False,
        "axes.formatter.limits": (-3, 5),
        "axes.facecolor": "none",
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
    with mpl.rc_context(settings), warnings.catch_warnings():
        # The browser has letters that matplotlib's own font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        canvas = Canvas(figsize=(width, height), layout="constrained")
        canvas.patch.set_alpha(0)
        paint(canvas)
        stream = io.StringIO()
        canvas.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return Figure(title, caption, _inline(stream.getvalue(), title), width)


def legend_columns(names: Sequence[str]) -> int:
    """How many entries of a legend fit side by side: an entry takes about 34 points and 5.5 for each letter."""
    return max(1, min(4, int(275 / (34 + 5.5 * max(map(len, names))))))


def add_legend(axes: "Axes", handles: Sequence["Artist"], names: Sequence[str]) -> None:
    """A legend above the axes, where it hides nothing."""
    legend = axes.figure.legend(
        handles,
        [str(place) for place in range(len(names))],
        loc="outside upper left",
        ncols=legend_columns(names),
        frameon=False,
        handlelength=1.8,
        columnspacing=1.2,
    )
    # As labels, names with a leading "_" would be left out.
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_text(name if len(name) <= 44 else f"{name[:43]}…")


def _inline(svg: str, title: str) -> str:
    """The `<svg>` element alone, with ids of its own, the page's colours and fonts, and a title for screen readers."""
    from markupsafe import escape

    number = next(_numbers)
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r'\bid="', f'id="f{number}-', svg)
    svg = re.sub(r"url\(#", f"url(#f{number}-", svg)
    svg = re.sub(r'xlink:href="#', f'href="#f{number}-', svg)
    svg = re.sub(r"#0000[0-9a-f]{2}|#00010[1-4]|#00020[0-8]", lambda found: _VARIABLES.get(found[0], found[0]), svg)
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px; font-family: inherit", svg)
    head = re.compile(r'<svg [^>]*viewBox="([^"]*)"[^>]*>', re.S)
    name = f'aria-labelledby="f{number}-title"><title id="f{number}-title">{escape(title)}</title>'
    return head.sub(lambda found: f'<svg viewBox="{found[1]}" role="img" {name}', svg, count=1)
