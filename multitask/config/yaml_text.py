"""YAML as people write it: 1e-5 is a number, a key stands once and is text."""

import re
from pathlib import Path
from typing import Any

import yaml

from multitask.errors import UserError

# Stands for `#` while an override's value is read; of the private use area, which no text of a config holds.
_HASH = "\ue023"


def read_value(text: str) -> object:
    """The value of `key.path=text`, as YAML reads it, but for comments, of which it has none: a `#` is one."""
    try:
        return _with_hashes(yaml.load(text.replace("#", _HASH), _Loader))
    except _KeyError as error:
        raise UserError(f"{text!r}: {error.problem}") from None
    except yaml.YAMLError:
        raise UserError(f"{text!r} is not valid YAML") from None


def read_document(path: Path) -> object:
    """What a YAML file says.

    Raises:
        UserError: it is not valid, or a key stands twice in one mapping.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except _KeyError as error:
        raise UserError(f"{path}, line {error.line}: {error.problem}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None


def read_mapping(path: Path) -> dict:
    """The keys and values of a YAML file."""
    tree = read_document(path)
    if not isinstance(tree, dict):
        raise UserError(f"{path}: must be a mapping of keys to values")
    return tree


def _with_hashes(value: object) -> object:
    if isinstance(value, str):
        return value.replace(_HASH, "#")
    if isinstance(value, list):
        return [_with_hashes(item) for item in value]
    if isinstance(value, dict):
        return {_with_hashes(key): _with_hashes(item) for key, item in value.items()}
    return value


class _KeyError(yaml.YAMLError):
    """A key that is not one."""

    def __init__(self, problem: str, key: yaml.Node) -> None:
        super().__init__(problem)
        self.problem, self.line = problem, key.start_mark.line + 1


class _Loader(yaml.SafeLoader):
    """YAML in which 1e-5 is a number, as people write it, and a key that would be lost or misread is refused."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: dict[tuple[str, str], yaml.Node] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _KeyError("a key must be text", key)
            if key.tag in (_BOOL, _NULL):
                raise _KeyError(_misread(key), key)
            if (first := seen.setdefault((key.tag, key.value), key)) is not key:
                where = f"first in line {first.start_mark.line + 1}"
                raise _KeyError(f"the key {key.value!r} stands twice, {where}: leave one out", key)
        return node


def _misread(key: yaml.ScalarNode) -> str:
    return (
        f'YAML reads the key {key.value} as {"true or false" if key.tag == _BOOL else "null"}: quote it: "{key.value}"'
    )


_BOOL, _NULL = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:null"
_Loader.yaml_implicit_resolvers = {k: list(v) for k, v in yaml.SafeLoader.yaml_implicit_resolvers.items()}
_FLOAT = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+$")
for _first in "-+0123456789.":
    _Loader.yaml_implicit_resolvers.setdefault(_first, []).insert(0, ("tag:yaml.org,2002:float", _FLOAT))
