"""`concord methods`: the loss combinations that there are."""

from typing import Annotated

import typer

from cluster.terminal.json_output import print_json


def methods(
    name: Annotated[str | None, typer.Argument(help="One of them, in full.", metavar="[METHOD]")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """List the loss combinations: what each does, when to try it, what it keeps, and where it is from."""
    from cluster.terminal.method_display import show_method, show_methods
    from multitask.config.combination.catalogue import method_classes, methods
    from multitask.config.messages import valid_names
    from multitask.errors import UserError

    found = methods()
    if name is not None:
        if name not in method_classes():
            raise UserError(f"there is no method {name!r}; {valid_names(name, method_classes())}")
        found = [own for own in found if own["name"] == name]
    if json:
        print_json({"methods": found})
    elif name is not None:
        show_method(found[0], method_classes()[name])
    else:
        show_methods(found)
