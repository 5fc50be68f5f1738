"""The base class of configurations, and the marks that control the flags and forms derived from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, field_validator
from pydantic.fields import FieldInfo

_Mark = TypeVar("_Mark")
_Value = TypeVar("_Value")
_MAX_INTEGER = 2**31 - 1


def require_bounded(value: _Value) -> _Value:
    """The value of any field, unless it is an integer that no library can hold."""
    if isinstance(value, int) and abs(value) > _MAX_INTEGER:
        raise ValueError(f"expected an integer of at most {_MAX_INTEGER:,}")
    return value


class VerbConfig(BaseModel):
    """Base class of all configurations: unknown keys are errors, and a field's docstring is its help."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        coerce_numbers_to_str=True,  # `category: 7` in YAML
        use_attribute_docstrings=True,
    )
    heading: ClassVar[str | None] = None  # above its fields in help and forms

    _bounded = field_validator("*", mode="after")(require_bounded)


@dataclass(frozen=True, slots=True)
class Flattened:
    """Marks a nested model; its fields become flags under their own names."""

    file_flag: str | None = None  # flag for a YAML file with all fields, such as --rules


@dataclass(frozen=True, slots=True)
class FlagName:
    """Marks a field with a flag that differs from its key, such as `--zone` for `zones`."""

    name: str


@dataclass(frozen=True, slots=True)
class Heading:
    """Marks a field that is listed under another heading than the rest of its model."""

    text: str


@dataclass(frozen=True, slots=True)
class Advanced:
    """Marks a rarely needed field: only `--help-all` lists its flag."""


ADVANCED = Advanced()


def find_mark(field: FieldInfo, kind: type[_Mark]) -> _Mark | None:
    """The mark of this kind on a field, or None."""
    return next((mark for mark in field.metadata if isinstance(mark, kind)), None)


def nested_model(annotation: object) -> type[BaseModel] | None:
    """The model in an annotation: the annotation itself, or inside a list or an option."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for inner in get_args(annotation) if (model := nested_model(inner)) is not None), None)


def merge(below: object, above: object) -> object:
    """`above`; two mappings are merged, and the keys of `above` win.

    >>> merge({"a": 1, "b": 1}, {"b": 2}), merge({"a": 1}, 3)
    ({'a': 1, 'b': 2}, 3)
    """
    return {**below, **above} if isinstance(below, Mapping) and isinstance(above, Mapping) else above


def set_values(model: BaseModel | None) -> dict[str, object]:
    """Only the fields that were set, nested models as mappings, so that other layers can add the rest.

    >>> set_values(None)
    {}
    """
    if model is None:
        return {}
    values = {name: getattr(model, name) for name in type(model).model_fields if name in model.model_fields_set}
    return {name: set_values(value) if isinstance(value, BaseModel) else value for name, value in values.items()}
