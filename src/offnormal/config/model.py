"""What every configuration is made of, and the marks by which flags and forms derive from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeVar, get_args

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo

_Mark = TypeVar("_Mark")


class VerbConfig(BaseModel):
    """What all verbs share: unknown keys are refused, a field's docstring is its help."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        coerce_numbers_to_str=True,  # `category: 7` in YAML
        use_attribute_docstrings=True,
    )
    heading: ClassVar[str | None] = None  # over its fields in help and forms


@dataclass(frozen=True, slots=True)
class Flattened:
    """Marks a model inside another one whose fields are flags of their own, by their own names."""

    file_flag: str | None = None  # a flag for a YAML file with all of them, such as --rules


@dataclass(frozen=True, slots=True)
class FlagName:
    """Marks a field whose flag has another name than its key: `--zone` is given once for each of `zones`."""

    name: str


@dataclass(frozen=True, slots=True)
class Heading:
    """Marks a field that is listed under another heading than the rest of its model."""

    text: str


@dataclass(frozen=True, slots=True)
class Advanced:
    """Marks a field that few people need: `--help` leaves its flag to `--help-all`."""


ADVANCED = Advanced()


def find_mark(field: FieldInfo, kind: type[_Mark]) -> _Mark | None:
    """The mark of a kind that a field bears."""
    return next((mark for mark in field.metadata if isinstance(mark, kind)), None)


def nested_model(annotation: object) -> type[BaseModel] | None:
    """The model that an annotation is, or is a list or an option of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for inner in get_args(annotation) if (model := nested_model(inner)) is not None), None)


def merge(below: object, above: object) -> object:
    """`above`, or of two mappings one with the keys of both, those of `above` winning.

    >>> merge({"a": 1, "b": 1}, {"b": 2}), merge({"a": 1}, 3)
    ({'a': 1, 'b': 2}, 3)
    """
    return {**below, **above} if isinstance(below, Mapping) and isinstance(above, Mapping) else above


def set_values(model: BaseModel | None) -> dict[str, object]:
    """Only the fields that were set, models inside as mappings of theirs, so that another layer can fill in the rest.

    >>> set_values(None)
    {}
    """
    if model is None:
        return {}
    values = {name: getattr(model, name) for name in type(model).model_fields if name in model.model_fields_set}
    return {name: set_values(value) if isinstance(value, BaseModel) else value for name, value in values.items()}
