"""Every loss combination as a table: `python -m multitask.config.combination.catalogue docs/methods.md` writes it into that page."""

import re
import sys
import typing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from multitask.config.combination import CombinationConfig, Method
from multitask.config.combination.base import GramianMethod
from multitask.config.search import declared_ranges, needs_several_tasks

KINDS = {
    "losses": "Weights of losses",
    "gradients": "Weights of gradients, from their inner products",
    "coordinates": "Merging gradients coordinate by coordinate",
}
_BEGIN, _END = "<!-- methods, written by make reference: -->", "<!-- to here -->"


def method_classes() -> dict[str, type[Method]]:
    """Name to config class of every method, in the order of the config."""
    classes = typing.get_args(typing.get_args(CombinationConfig)[0])
    return {own.model_fields["name"].default: own for own in classes}


def methods() -> list[dict[str, Any]]:
    """What there is to say of every method, as plain values."""
    return [_described(name, own) for name, own in method_classes().items()]


def _described(name: str, own: type[Method]) -> dict[str, Any]:
    ranges = declared_ranges(own)
    inherited = {"name", "strength", "after", "groups", "inside", "granularity", "every", "scope"}
    return {
        "name": name,
        "does": " ".join((own.__doc__ or "").split("\n\n")[0].split()),
        **asdict(own.ABOUT),
        "keys": [key for key in own.model_fields if key not in inherited],
        "searched": ranges is not None,
        "ranges": sorted(ranges or {}),
        "several_tasks": needs_several_tasks(own),
        "blocks": issubclass(own, GramianMethod),
    }


def catalogue() -> str:
    """A Markdown table for each kind."""
    parts = []
    for kind, title in KINDS.items():
        lines = [
            f"**{title}**\n",
            "| `combination.name` | what it does | when | keys | remembers | paper; what differs |",
            "|---|---|---|---|---|---|",
        ]
        lines += [_line(method) for method in methods() if method["kind"] == kind]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _line(method: dict[str, Any]) -> str:
    # A loss method that waits for the step's losses keeps the gradients of all tasks until then.
    waits = method["kind"] == "losses" and method["gradients"] == "each"
    cells = (
        f"`{method['name']}`" + " †" * waits,
        method["does"],
        method["when"],
        ", ".join(f"`{key}`" for key in method["keys"]) or "–",
        method["state"] or "–",
        "; ".join(part for part in (method["paper"], method["differs"]) if part),
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def with_catalogue(page: str) -> str:
    """`page` with the tables between its two marks."""
    return re.sub(f"(?s){_BEGIN}.*?{_END}", lambda _: f"{_BEGIN}\n\n{catalogue()}\n\n{_END}", page)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.write_text(with_catalogue(target.read_text(encoding="utf-8")), encoding="utf-8")
