"""Build a verb's configuration from layers: YAML file < environment < flag. An unknown key is an error.

Environment variables are named OFFNORMAL_<FIELD>, or OFFNORMAL_DETECTOR_<FIELD> for a detector. Their values are
parsed as YAML; for text fields, numbers and switches stay as written (`OFFNORMAL_CATEGORY=007`). In a file, ${NAME} is
replaced by an environment variable, so that no password needs to be in the file; $${ is a literal ${. A model can have
a separate file (`rules: rules.yaml`, OFFNORMAL_RULES, --rules); single keys of the same layer win over it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from offnormal.config.model import Flattened, VerbConfig, find_mark, merge, nested_model
from offnormal.config.validation import format_validation_error
from offnormal.errors import ConfigError
from offnormal.input_files import load_yaml, read_text
from offnormal.redact import redact

_Config = TypeVar("_Config", bound=VerbConfig)
_VARIABLE = re.compile(r"\$\$\{|\$\{([^}]+)\}")
_INSIDE_LOGIN = re.compile(r"://[^/?#\s]*$")  # text before a variable in the login of a URL
FILE = "file"  # key for the path of a model's file, next to single keys
_RESERVED = re.compile(r"[/?#@\s]")  # characters to encode in a login


def read_yaml(path: Path) -> dict[str, object]:
    """The mapping in a YAML file; ConfigError if the file is missing or not a mapping."""
    try:
        values = load_yaml(read_text(path))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise ConfigError(f"{path}: not valid YAML ({error})") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: contains a {type(values).__name__}; expected a mapping of keys to values")
    return values


def build(
    model: type[_Config],
    arguments: Mapping[str, object],
    *,
    file: Path | None = None,
    environment: Mapping[str, str] = os.environ,
    detector: str | None = None,
) -> _Config:
    """The configuration of a verb from a YAML file, the environment, and arguments; later layers win.

    detector: the name that a file may repeat as `detector: {name: ...}`, like a run's config.yaml.
    Raises ConfigError for unknown keys, with the nearest known one, and for invalid values.
    """
    merged: dict[str, object] = {}
    substituted: list[str] = []
    for layer in (
        _read_file(file, detector, environment, substituted),
        _from_environment(model, environment),
        arguments,
    ):
        for key, value in _load_nested_files(model, layer, environment, substituted).items():
            merged[key] = merge(merged.get(key), value)
    try:
        return model.model_validate(merged)
    except ValidationError as error:
        raise ConfigError(redact(format_validation_error(error, model), *substituted)) from None


def input_files(arguments: Mapping[str, object], file: Path | None) -> list[Path]:
    """The files that a configuration is read from: its YAML file, and those of nested models and masks."""
    values: list[object] = [file, arguments.get("privacy_mask"), arguments.get("ignore_mask")]
    values += [value.get(FILE) for value in arguments.values() if isinstance(value, Mapping)]
    return [Path(value) for value in values if isinstance(value, str | Path)]


def _environment_value(text: str) -> object:
    try:
        value = load_yaml(text)
    except ValueError:
        return text
    return value if value is None or isinstance(value, str | list) else text


def _load_nested_files(
    model: type[BaseModel], layer: Mapping[str, object], environment: Mapping[str, str], substituted: list[str]
) -> dict[str, object]:
    """A layer in which paths of nested files are replaced by their content."""
    values = dict(layer)
    for key, field in model.model_fields.items():
        mark = find_mark(field, Flattened)
        if mark is None or mark.file_flag is None or key not in values:
            continue
        value = values[key]
        single = {**value} if isinstance(value, Mapping) else {FILE: value}
        path = single.pop(FILE, None)
        if isinstance(path, str | Path):
            values[key] = merge(_read_substituted(Path(path), environment, substituted), single)
    return values


def _read_file(
    file: Path | None, detector: str | None, environment: Mapping[str, str], substituted: list[str]
) -> dict[str, object]:
    """Read the file layer; `filled` collects the values of variables, to redact them in errors."""
    values = {} if file is None else _read_substituted(file, environment, substituted)
    inner = values.get("detector")
    if isinstance(inner, str):  # `detector: padim`
        inner = {"name": inner}
    if detector is not None and isinstance(inner, dict) and "name" in inner:
        if inner["name"] != detector:
            raise ConfigError(f"{file}: for the detector {inner['name']!r}, expected {detector!r}")
        values = {**values, "detector": {key: value for key, value in inner.items() if key != "name"}}
    return values


def _read_substituted(file: Path, environment: Mapping[str, str], substituted: list[str]) -> dict[str, object]:
    return {key: _substitute(value, environment, file, substituted) for key, value in read_yaml(file).items()}


def _substitute(value: object, environment: Mapping[str, str], file: Path, substituted: list[str]) -> object:
    """Replace ${NAME} in all text of a value by environment variables."""
    if isinstance(value, Mapping):
        return {key: _substitute(inner, environment, file, substituted) for key, inner in value.items()}
    if isinstance(value, list):
        return [_substitute(inner, environment, file, substituted) for inner in value]
    if not isinstance(value, str):
        return value

    def replace_variable(match: re.Match[str]) -> str:
        name = match[1]
        if name is None:
            return "${"
        if not name.isidentifier():
            raise ConfigError(f"{file}: ${{{name}}} is not a valid variable name; write $${{ for a literal ${{")
        if name not in environment:
            raise ConfigError(f"{file}: ${{{name}}}: the environment variable {name} is not set; set it")
        if _INSIDE_LOGIN.search(value[: match.start()]) and _RESERVED.search(environment[name]):
            raise ConfigError(
                f"{file}: {name} is part of a URL and contains / ? # @ or a space: write them as %2F %3F %23 %40 %20 "
                "in the variable"
            )
        substituted.append(environment[name])
        return environment[name]

    return _VARIABLE.sub(replace_variable, value)


def _from_environment(
    model: type[BaseModel], environment: Mapping[str, str], prefix: str = "OFFNORMAL"
) -> dict[str, object]:
    values: dict[str, object] = {}
    for name, field in model.model_fields.items():
        variable = f"{prefix}_{name.upper()}"
        nested = nested_model(field.annotation)
        inner = {} if nested is None else _from_environment(nested, environment, variable)
        if variable in environment:
            value = _environment_value(environment[variable])
            values[name] = {FILE: value, **inner} if inner else value
        elif inner:
            values[name] = inner
    return values
