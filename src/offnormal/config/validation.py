"""What is wrong with a configuration, in words that say what to do."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from pydantic import BaseModel, ValidationError

from offnormal.config.model import Flattened, find_mark, nested_model
from offnormal.redact import redact


def format_validation_error(error: ValidationError, model: type[BaseModel] | None = None) -> str:
    """One line per fault: where, what was got, what was expected, and the nearest known key for an unknown one."""
    lines = []
    for fault in error.errors():
        keys = [str(key) for key in fault["loc"]]
        where = ".".join(keys)
        if fault["type"] == "extra_forbidden":
            known = _known(_inner(model, keys[:-1])) if model is not None else []
            near = difflib.get_close_matches(keys[-1], known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            lines.append(f"unknown key {where!r}: {hint}")
        else:
            lines.append(f"{where}: {fault['msg'].removeprefix('Value error, ')} (got {_shown(fault['input'])})")
    return "\n".join(dict.fromkeys(lines))


def _shown(value: object) -> str:
    """What was got, without what is secret in it; of a mapping nothing but its keys, since it may hold anything."""
    if isinstance(value, Mapping):
        return f"a mapping with {', '.join(map(str, value)) or 'nothing'}"
    if isinstance(value, BaseModel):
        return f"a {type(value).__name__}"
    if isinstance(value, list | tuple) and not all(isinstance(one, int | float) for one in value):
        return f"a list of {len(value)}"
    return redact(repr(value))


def _known(model: type[BaseModel]) -> list[str]:
    """Keys of a model and of the models inside it, which flags and keyword arguments do not nest."""
    inner = [nested_model(field.annotation) for field in model.model_fields.values() if find_mark(field, Flattened)]
    return [*model.model_fields, *(name for found in inner if found is not None for name in found.model_fields)]


def _inner(model: type[BaseModel], keys: list[str]) -> type[BaseModel]:
    for key in keys:
        if key.isdecimal():  # place in a list of models
            continue
        field = model.model_fields.get(key)
        inner = None if field is None else nested_model(field.annotation)
        if inner is None:
            break
        model = inner
    return model
