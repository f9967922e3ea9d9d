"""What a key of the config may hold, read from the models' annotations."""

import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel, Tag
from pydantic_core import PydanticUndefined


def choice_name(model: type[BaseModel]) -> object:
    """What `name` says where `model` is one of several choices; `PydanticUndefined` where it takes more than one name."""
    return model.model_fields["name"].default if "name" in model.model_fields else None


def config_models(annotation: object) -> list[type[BaseModel]]:
    """The models that a field of this type may hold: none, one, or the choices of a union."""
    return [own for _, own in options(annotation) if isinstance(own, type) and issubclass(own, BaseModel)]


def options(annotation: object) -> list[tuple[object, object]]:
    """What a value of this type may be, each with the tag that stands for it in pydantic's paths."""
    if typing.get_origin(annotation) is typing.Annotated:
        inner, *metadata = typing.get_args(annotation)
        tags = [own.tag for own in metadata if isinstance(own, Tag)]
        return [(tags[0], inner)] if tags else options(inner)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [option for part in typing.get_args(annotation) for option in options(part)]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [(choice_name(annotation), annotation)]
    return [(None, annotation)]


def held(annotation: object) -> object:
    """What a dict or tuple of this type holds; None for other types."""
    for _, own in options(annotation):
        if typing.get_origin(own) in (dict, tuple):
            return next(a for a in reversed(typing.get_args(own)) if a is not Ellipsis)
    return None


@dataclass(frozen=True)
class Place:
    """Where plain values stand in the config: the type that is declared there, and what holds where nothing is given.

    Both are unknown (`None` and `PydanticUndefined`) below keys that there are not, and below those that take any value.
    """

    annotation: object
    default: object = PydanticUndefined

    def below(self, node: object, key: str) -> "Place":
        """The place of `key` in the plain values `node` that stand here."""
        if not (models := config_models(self.annotation)):
            return Place(held(self.annotation))
        model = chosen(models, self.name_of(node))
        if model is None or (field := model.model_fields.get(key)) is None:
            return Place(None)
        return Place(field.annotation, field.get_default(call_default_factory=True))

    @property
    def is_choice(self) -> bool:
        """Whether `name` chooses one of several models here."""
        models = config_models(self.annotation)
        return len(models) > 1 and all("name" in model.model_fields for model in models)

    def holds(self, kind: type) -> bool:
        """Whether a dict, or a tuple, is what stands here."""
        return any(typing.get_origin(own) is kind for _, own in options(self.annotation))

    def name_of(self, node: object) -> object:
        """The choice that `node` names, or that holds where it names none."""
        own = node.get("name") if isinstance(node, Mapping) else None
        return getattr(self.default, "name", None) if own is None else own

    def start(self) -> object:
        """What holds where nothing is given, as plain values that a part may be changed of; None if there is none."""
        if isinstance(self.default, BaseModel):
            name = {"name": self.name_of(None)} if self.is_choice else {}
            return name | self.default.model_dump(mode="json", exclude_unset=True)
        if isinstance(self.default, tuple):
            return [Place(None, own).start() if isinstance(own, BaseModel) else own for own in self.default]
        return dict(self.default) if isinstance(self.default, dict) else None


def chosen(models: list[type[BaseModel]], name: object) -> type[BaseModel] | None:
    """The one of `models` that `name` chooses; None if it is none's name."""
    if len(models) == 1:
        return models[0]
    by_name = {choice_name(model): model for model in models}
    return by_name.get(name, by_name.get(PydanticUndefined)) if isinstance(name, str) else None
