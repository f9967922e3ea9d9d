"""From runs or a sweep to a page."""

import re
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.report.run_comparison import compare_sources
from cluster.report.run_part import run_part
from cluster.report.source import Source, is_source, open_source
from cluster.report.sweep.sweep_page import sweep_part
from cluster.sweeps.store import SweepStore
from multitask.errors import UserError

if TYPE_CHECKING:
    from markupsafe import Markup


def write_report(places: Sequence[str], output: str | None = None, storage: str = "runs") -> Path:
    """Write the page about the runs or exports at `places`, or about one sweep, to `output`, and give its path.

    A sweep is named by its folder or by its name below `storage`. Without `output` the page is `report.html` in the one
    run's or sweep's folder, or in the working folder for several.

    Raises:
        UserError: a place is neither a run, an export nor a sweep; a sweep is not alone; the file cannot be written.
    """
    sweep = _find_sweep(places, storage)
    html = render_sweep(sweep) if sweep else render([open_source(place) for place in places])
    path = Path(output) if output else _default_path([sweep.location] if sweep else places)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(html, encoding="utf-8")
    except OSError as error:
        raise UserError(f"--output: cannot write {path}: {error.strerror}") from None
    return path


def _find_sweep(places: Sequence[str], storage: str) -> SweepStore | None:
    """The sweep that is asked for; None where it is runs or exports."""
    for place in (place for place in places if not is_source(place)):
        try:
            sweep = SweepStore.find(place, storage)
        except UserError as error:
            raise UserError(f"{place} is neither a run folder nor an export, and {error}") from None
        if len(places) > 1:
            raise UserError(f"{place} is a sweep: it has a report of its own and cannot be compared with others")
        return sweep
    return None


def render(sources: Sequence[Source]) -> str:
    """The page about runs as one HTML text."""
    comparison = compare_sources(sources) if len(sources) > 1 else None
    title = " · ".join(comparison.names if comparison else [source.name for source in sources])
    return render_template(
        "report.html.j2", title=title, runs=[run_part(source) for source in sources], comparison=comparison
    )


def render_sweep(folder: SweepStore) -> str:
    """The page about a sweep as one HTML text."""
    part = sweep_part(folder)
    return render_template("sweep.html.j2", title=part.name, part=part)


def render_template(template: str, **values: Any) -> str:
    """The template of that name below `templates`, filled in."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("cluster.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["code"] = _code
    return environment.get_template(template).render(version=version("concord-mtl"), **values)


def _code(text: str) -> "Markup":
    """The text as HTML, what stands between backticks as code."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))


def _default_path(places: Sequence[str]) -> Path:
    if len(places) == 1 and Path(places[0]).is_dir():
        return Path(places[0]) / "report.html"
    return Path("report.html")
