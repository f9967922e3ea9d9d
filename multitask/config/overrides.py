"""One layer of plain values over another: what a file says over what it extends, and `key.path=value` over both.

Another choice (`optimizer.name`) keeps the keys that its class shares with the old one, and forgets the others, which
mean nothing to it. What the new layer itself says stays, so that a key which the new choice does not have is refused.
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from pydantic_core import PydanticUndefined

from multitask.config.messages import shown
from multitask.config.run import RunConfig
from multitask.config.schema import Place, chosen, config_models
from multitask.errors import UserError

CONFIG = Place(RunConfig)


def merge(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """`change` over `base`, plain values of a config: mappings key by key, everything else is replaced."""
    return _merge_at(CONFIG, base, change)


def _merge_at(place: Place, base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    merged = with_choice(base, place, change["name"]) if place.is_choice and "name" in change else dict(base)
    for key, value in change.items():
        before = merged.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            value = _merge_at(place.below(merged, key), before, value)
        merged[key] = value
    return merged


def with_choice(node: dict[str, Any], place: Place, name: object) -> dict[str, Any]:
    """The plain values `node`, which stand at `place`, with another `name`.

    A key that means the same in both choices, by its description, keeps its value, given or not. Where either name is
    unknown, all keys stay.
    """
    old_name = place.name_of(node)
    models = config_models(place.annotation)
    old, new = chosen(models, old_name), chosen(models, name)
    if old_name == name or old is None or new is None:
        return node | {"name": name}
    kept: dict[str, Any] = {"name": name}
    for field, own in new.model_fields.items():
        before = old.model_fields.get(field)
        if (
            before is None
            or before.description != own.description
            or field in ("name", *getattr(old, "OF_THE_NAME", ()))
        ):
            continue
        usual = before.get_default(call_default_factory=True)
        if field in node:
            kept[field] = node[field]
        elif usual not in (PydanticUndefined, own.get_default(call_default_factory=True)):
            kept[field] = usual
    return kept


def set_values(tree: dict, changes: Iterable[tuple[str, object]]) -> None:
    """Set values at dotted keys of a config's plain values: a part before what lies below it, names of choices before the rest.

    Numbers are places in lists; null at one takes the element away.

    Raises:
        UserError: something has no keys or no such place.
    """
    lists: list[list] = []
    for path, value in sorted(changes, key=_parts_and_names_first):
        *parents, last = path.split(".")
        node, place = _descend(tree, parents, last)
        if isinstance(node, list):
            node[_index(node, last, path)] = value
            lists.append(node)
        elif last == "name" and place.is_choice:
            changed = with_choice(node, place, value)
            node.clear()
            node.update(changed)
        else:
            node[last] = value
    for own in lists:
        own[:] = [value for value in own if value is not None]


def _parts_and_names_first(change: tuple[str, object]) -> tuple[int, bool]:
    parts = change[0].split(".")
    return len(parts), parts[-1] != "name"


def _descend(tree: dict, parents: list[str], last: str) -> tuple[dict | list, Place]:
    node: dict | list = tree
    place = CONFIG
    for depth, (key, following) in enumerate(pairwise([*parents, last])):
        path, place = ".".join(parents[: depth + 1]), place.below(node, key)
        if isinstance(node, list):
            index = _index(node, key, path)
            node[index] = child = _with_keys(node[index], place, path)
        else:
            child = node.get(key, place.start())
            if child is None and (place.holds(tuple) or (place.annotation is Any and following.isdecimal())):
                raise UserError(f"{path} is not given, so it has no elements to change: give the whole list")
            node[key] = child = _with_keys(child, place, path)
        node = child
    return node, place


def _with_keys(value: object, place: Place, path: str) -> dict | list:
    """What stands at `path` in a form that a part of it can be set; a part that is off is switched on."""
    if isinstance(value, dict | list):
        return value
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, str) and place.holds(tuple):
        return [value]
    if value is None:
        return {}
    raise UserError(f"{path} is {shown(value)}, it has no keys below it")


def _index(node: list, key: str, path: str) -> int:
    if not key.isdecimal() or int(key) >= len(node):
        positions = f"a list of {len(node)} (0 … {len(node) - 1})" if node else "an empty list"
        raise UserError(f"{path}: {key!r} is no position in {positions}")
    return int(key)
