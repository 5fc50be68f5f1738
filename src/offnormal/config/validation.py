"""Format validation errors of a configuration for people."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from pydantic import BaseModel, ValidationError

from offnormal.config.model import Flattened, find_mark, nested_model
from offnormal.redact import redact


def format_validation_error(error: ValidationError, model: type[BaseModel] | None = None) -> str:
    """One line per error: key, expected value, and actual value; for an unknown key, the nearest known one."""
    lines = []
    for problem in error.errors():
        keys = [str(key) for key in problem["loc"]]
        path = ".".join(keys)
        if problem["type"] == "extra_forbidden":
            all_keys = _all_keys(_nested(model, keys[:-1])) if model is not None else {}
            near = difflib.get_close_matches(keys[-1], all_keys, n=1)
            name = all_keys[near[0]] if near and near[0] == keys[-1] else "".join(near)  # a key of a nested model
            hint = f"did you mean {name!r}?" if near else f"expected one of {', '.join(all_keys)}"
            lines.append(f"unknown key {path!r}" + (f": {hint}" if all_keys else ""))
            continue
        message = problem["msg"].removeprefix("Value error, ")
        lines.append(f"{path}: {message} (got {_format_value(problem['input'])})" if path else message)
    return "\n".join(dict.fromkeys(lines))


def _format_value(value: object) -> str:
    """A value without secrets; of a mapping only the keys, because its values may be secret."""
    if isinstance(value, Mapping):
        return f"a mapping with {', '.join(map(str, value)) or 'no keys'}"
    if isinstance(value, BaseModel):
        return f"a {type(value).__name__}"
    if isinstance(value, list | tuple) and not all(isinstance(item, int | float) for item in value):
        return f"a list of {len(value)}"
    return redact(repr(value))


def _all_keys(model: type[BaseModel]) -> dict[str, str]:
    """Keys of a model and of its flattened models, with their full paths."""
    keys = {name: name for name in model.model_fields}
    for name, field in model.model_fields.items():
        inner = nested_model(field.annotation) if find_mark(field, Flattened) else None
        keys |= {key: f"{name}.{key}" for key in (inner.model_fields if inner is not None else ())}
    return keys


def _nested(model: type[BaseModel], keys: list[str]) -> type[BaseModel]:
    for key in keys:
        if key.isdecimal():  # index in a list of models
            continue
        field = model.model_fields.get(key)
        inner = None if field is None else nested_model(field.annotation)
        if inner is None:
            break
        model = inner
    return model
