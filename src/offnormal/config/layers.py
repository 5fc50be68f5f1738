"""How a verb's configuration comes together: YAML file < environment < flag; an unknown key is an error.

Environment variables are OFFNORMAL_<FIELD>, those of a detector OFFNORMAL_DETECTOR_<FIELD>; values are read as
YAML, numbers and switches as they stand where a text is wanted (`OFFNORMAL_CATEGORY=007`). In a file ${NAME} stands
for what the environment has under that name, so that no password need be in it; $${ is ${ itself. Where a model has a
file of its own (`rules: rules.yaml`, OFFNORMAL_RULES, --rules), single keys of the same layer win over it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from offnormal.config.model import Flattened, VerbConfig, find_mark, merge, nested_model
from offnormal.config.validation import format_validation_error
from offnormal.errors import ConfigError
from offnormal.redact import redact

_Config = TypeVar("_Config", bound=VerbConfig)
_VARIABLE = re.compile(r"\$\$\{|\$\{([^}]+)\}")
_IN_A_LOGIN = re.compile(r"://[^/?#\s]*$")  # what stands before a variable in the login of an address
FILE = "file"  # key beside single ones by which a layer names the file of a model
_TO_ENCODE = re.compile(r"[/?#@\s]")  # in a login


def read_yaml(path: Path) -> dict[str, object]:
    """The mapping in a YAML file; ConfigError when it is missing or not a mapping."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML ({error})") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected a mapping of keys to values, got {type(values).__name__}")
    return values


def build(
    model: type[_Config],
    given: Mapping[str, object],
    *,
    file: Path | None = None,
    environment: Mapping[str, str] = os.environ,
    detector: str | None = None,
) -> _Config:
    """The configuration of a verb from a YAML file, the environment and what was given, the last one winning.

    detector: the name that a file may repeat under `detector: {name: ...}`, as a run's config.yaml does.
    Raises ConfigError for unknown keys, with the nearest known one, and for values that are not valid.
    """
    merged: dict[str, object] = {}
    filled: list[str] = []
    for layer in (_read_file(file, detector, environment, filled), _from_environment(model, environment), given):
        for key, value in _with_files(model, layer, environment, filled).items():
            merged[key] = merge(merged.get(key), value)
    try:
        return model.model_validate(merged)
    except ValidationError as error:
        raise ConfigError(redact(format_validation_error(error, model), *filled)) from None


def _environment_value(text: str) -> object:
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    return value if value is None or isinstance(value, str | list) else text


def _with_files(
    model: type[BaseModel], layer: Mapping[str, object], environment: Mapping[str, str], filled: list[str]
) -> dict[str, object]:
    """A layer with the keys of the files that it names in place of their paths."""
    values = dict(layer)
    for key, field in model.model_fields.items():
        mark = find_mark(field, Flattened)
        if mark is None or mark.file_flag is None or key not in values:
            continue
        value = values[key]
        single = {**value} if isinstance(value, Mapping) else {FILE: value}
        path = single.pop(FILE, None)
        if isinstance(path, str | Path):
            values[key] = merge(_read_filled(Path(path), environment, filled), single)
    return values


def _read_file(
    file: Path | None, detector: str | None, environment: Mapping[str, str], filled: list[str]
) -> dict[str, object]:
    """filled: takes what was put in for variables."""
    values = {} if file is None else _read_filled(file, environment, filled)
    inner = values.get("detector")
    if isinstance(inner, str):  # `detector: padim`
        inner = {"name": inner}
    if detector is not None and isinstance(inner, dict) and "name" in inner:
        if inner["name"] != detector:
            raise ConfigError(f"{file}: written for the detector {inner['name']!r}, not for {detector!r}")
        values = {**values, "detector": {key: value for key, value in inner.items() if key != "name"}}
    return values


def _read_filled(file: Path, environment: Mapping[str, str], filled: list[str]) -> dict[str, object]:
    return {key: _filled(value, environment, file, filled) for key, value in read_yaml(file).items()}


def _filled(value: object, environment: Mapping[str, str], file: Path, filled: list[str]) -> object:
    """With variables of the environment put in, wherever there is text."""
    if isinstance(value, Mapping):
        return {key: _filled(inner, environment, file, filled) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, environment, file, filled) for inner in value]
    if not isinstance(value, str):
        return value

    def found(match: re.Match[str]) -> str:
        name = match[1]
        if name is None:
            return "${"
        if not name.isidentifier():
            raise ConfigError(
                f"{file}: ${{{name}}} names no variable of the environment; write $${{ for the text itself"
            )
        if name not in environment:
            raise ConfigError(f"{file}: the environment has no {name}, which ${{{name}}} stands for: set it")
        if _IN_A_LOGIN.search(value[: match.start()]) and _TO_ENCODE.search(environment[name]):
            raise ConfigError(
                f"{file}: {name} is part of an address and holds one of / ? # @ or a space: write them as "
                "%2F %3F %23 %40 %20 in the variable"
            )
        filled.append(environment[name])
        return environment[name]

    return _VARIABLE.sub(found, value)


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
