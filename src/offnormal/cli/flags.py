"""Flags from configurations: each field of a model is a flag, so that nothing is declared twice."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin

from cyclopts import Group, Parameter
from pydantic import BaseModel, Field, create_model

from offnormal.config.fields import Text
from offnormal.config.layers import FILE
from offnormal.config.model import Advanced, FlagName, Flattened, Heading, find_mark, nested_model

_Command = TypeVar("_Command", bound=Callable[..., int])
_BEFORE = ("Data", "Cameras", "Input", "Threshold", "Output")  # headings before a detector's name
_AFTER = ("Training", "Class folders", "Videos", "Alarms", "Events", "Computing", "Tracking and upload")
_LONG = frozenset({"Class folders", "Videos", "Alarms", "Computing", "Tracking and upload"})
_SUFFIX = " (advanced)"
OPTIONS = Group("Options", sort_key=99)
"""Heading of flags that every verb has, last on its page."""


def takes_flags(
    model: type[BaseModel], *, without: Collection[str] = (), heading: str | None = None
) -> Callable[[_Command], _Command]:
    """Add the flags of a configuration (see `flags_of`) to a command, as its parameter `options`."""

    def decorate(command: _Command) -> _Command:
        flags = flags_of(model, without, heading=heading)
        command.__annotations__["options"] = Annotated[flags | None, Parameter(name="*")]
        return command

    return decorate


def flags_of(model: type[BaseModel], without: Collection[str] = (), *, heading: str | None = None) -> type[BaseModel]:
    """Return a model of the fields that can be flags; none is required, and values with a text form stay text.

    `config.layers.build` parses them together with the file and the environment, which may have the other values.
    Fields that are models or lists of models can only be set in files, unless they are flattened or have a text form.
    without: fields to omit. heading: heading of the fields whose model has none.
    """
    return create_model(f"{model.__name__}Flags", **_flags(model, without, heading))


def _flags(model: type[BaseModel], without: Collection[str], heading: str | None) -> dict[str, Any]:
    """Return the annotation and the default of each flag."""
    flags: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        if name in without:
            continue
        title, named = _heading(model, name) or heading, find_mark(field, FlagName)
        if find_mark(field, Advanced) is not None:
            title = f"{title or 'Options'}{_SUFFIX}"
        nested, flattened = nested_model(field.annotation), find_mark(field, Flattened)
        written_as = None if named is None else named.name
        text = _text(field.annotation, field.metadata)
        flag = Parameter(
            name=written_as,
            group=_group(title),
            show_default=False if field.default == [] else None,
            metavar=None if text is None else text.label,
        )
        if nested is not None and flattened is not None:
            inner = _flags(nested, (), title)
            if flattened.file_flag is not None:
                file = Parameter(name=flattened.file_flag, group=_group(vars(nested).get("heading", title)))
                inner = {FILE: (Annotated[Path | None, file], Field(None, description=field.description)), **inner}
            nested_flags = create_model(f"{nested.__name__}Flags", **inner)
            flags[name] = (Annotated[nested_flags, Parameter(name="*")], nested_flags())
        elif text is not None:
            written = list[str] if _is_list(field.annotation) else str
            default = text.show(field.default) if text.show is not None and field.default is not None else None
            flags[name] = (Annotated[written | None, flag], Field(default, description=field.description))
        elif nested is None:
            default = None if field.is_required() else field.default
            flags[name] = (
                Annotated[field.annotation, *field.metadata, flag],
                Field(default, description=field.description),
            )
    return flags


def _text(annotation: object, metadata: Sequence[object] = ()) -> Text | None:
    """Return the text form of a field's type, or of the type inside an option or a list; None if it has none."""
    for mark in metadata:
        if isinstance(mark, Text):
            return mark
    inner = (_text(part, getattr(part, "__metadata__", ())) for part in get_args(annotation))
    return next((mark for mark in inner if mark is not None), None)


def _is_list(annotation: object) -> bool:
    return get_origin(annotation) is list or any(map(_is_list, get_args(annotation)))


def _heading(model: type[BaseModel], name: str) -> str | None:
    """Return the heading of the field, or of the first base of the model that has the field."""
    if (mark := find_mark(model.model_fields[name], Heading)) is not None:
        return mark.text
    first = next(base for base in reversed(model.__mro__) if name in getattr(base, "model_fields", ()))
    heading: str | None = vars(first).get("heading")
    return heading


@cache
def _group(heading: str | None) -> tuple[Group, ...]:
    """Return the group of a heading; groups are sorted for reading: the detector's options come before training."""
    if heading is None:
        return (OPTIONS,)
    plain = heading.removesuffix(_SUFFIX)
    order = (*_BEFORE, None, *_AFTER, OPTIONS.name)
    key = order.index(plain) if plain in order else len(_BEFORE)
    return (Group(heading, sort_key=2 * key + heading.endswith(_SUFFIX)),)


def is_advanced(heading: str) -> bool:
    """Whether only `--help-all` shows the flags under a heading."""
    return heading in _LONG or heading.endswith(_SUFFIX)
