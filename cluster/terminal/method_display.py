"""Loss combinations on a screen."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from multitask.config.combination import Method
from multitask.config.combination.catalogue import KINDS

_GRADIENTS = {"one": "one, of all tasks together", "each": "one of each task, on the ranks that own its shards"}


def show_methods(found: Sequence[Mapping[str, Any]]) -> None:
    """Print them by kind."""
    console = Console()
    for kind, title in KINDS.items():
        table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
        for heading in ("combination.name", "when", "paper"):
            table.add_column(heading, overflow="fold", no_wrap=heading == "combination.name")
        for own in found:
            if own["kind"] == kind:
                table.add_row(own["name"], own["when"], own["paper"])
        console.print(table)
    console.print("One in full: concord methods pcgrad. Search them: concord sweep main --space combination")


def show_method(found: Mapping[str, Any], model: type[Method]) -> None:
    """Print one with its keys."""
    lines = {
        "method": found["name"],
        "does": found["does"],
        "when": found["when"],
        "paper": found["paper"],
        "differs": found["differs"],
        "gradients": _GRADIENTS[found["gradients"]],
        "remembers": found["state"] or "nothing",
        "searched": ", ".join(found["ranges"]) or ("by name" if found["searched"] else "not by the shipped spaces"),
    }
    for key, value in lines.items():
        if value:
            print(f"{key:11}{value}")
    print("\nkeys of combination")
    for key, field in model.model_fields.items():
        if key != "name":
            default = (
                "needed" if field.is_required() else f"default {'null' if field.default is None else field.default}"
            )
            print(f"  {key:12} {field.description} ({default})")
